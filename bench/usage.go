package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// userHZ is the unit of the times in /proc, the same on every Linux that Go runs on.
const userHZ = 100

// cpu returns the user and system time that a process has used so far, to 10 ms.
func cpu(pid int) (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) //nolint:gosec // a number
	if err != nil {
		return 0, fmt.Errorf("reading the CPU time, which needs Linux: %w", err)
	}
	// The name of the program is in parentheses and may hold any of both.
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	const utime, stime = 11, 12 // fields 14 and 15 of proc(5), counted from the third
	if len(fields) <= stime {
		return 0, errors.New("reading the CPU time: /proc has another form")
	}
	var ticks int64
	for _, at := range []int{utime, stime} {
		n, err := strconv.ParseInt(fields[at], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the CPU time: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / userHZ, nil
}

// memory returns the resident memory of a process in bytes, now and at most
// since resetPeak.
func memory(pid int) (now, peak int64, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) //nolint:gosec // a number
	if err != nil {
		return 0, 0, fmt.Errorf("reading the memory, which needs Linux: %w", err)
	}
	for line := range strings.Lines(string(raw)) {
		name, rest, _ := strings.Cut(line, ":")
		var at *int64
		switch name {
		case "VmRSS":
			at = &now
		case "VmHWM":
			at = &peak
		default:
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("reading the memory: %w", err)
		}
		*at = kib << 10
	}
	return now, peak, nil
}

// ownMemory returns the resident memory of a process without the pages of files,
// in bytes: a store that is mapped into memory is the kernel's to drop.
func ownMemory(pid int) (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("reading the memory, which needs Linux: %w", err)
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return float64(kib << 10), err
		}
	}
	return 0, errors.New("reading the memory: /proc has another form")
}

// resetPeak makes the peak count from now on.
func resetPeak(pid int) error {
	const peakOnly = "5"                                                                  // see proc(5)
	err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte(peakOnly), 0o600) //nolint:gosec // a number
	if err != nil {
		return fmt.Errorf("resetting the peak of the memory: %w", err)
	}
	return nil
}
