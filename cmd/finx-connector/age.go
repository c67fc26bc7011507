package main

import (
	"fmt"
	"os"
	"os/user"
	"time"
)

const day = 24 * time.Hour

// short is a duration for people: the two largest digits of it, in one unit.
func short(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 90*time.Second:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 90*time.Minute:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 2*day:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d/day))
}

// age is how long ago something was; empty when it never was.
func age(now, at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return short(now.Sub(at))
}

// operator is who uses this program, for what is kept of what was done. It is what
// the machine says, not proof of anything.
func operator() string {
	name, host := "unknown", "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}
