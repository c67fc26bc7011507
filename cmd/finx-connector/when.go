package main

import (
	"strconv"
	"strings"
	"time"
)

// moment reads a time or a duration ago; the zero time for an empty text.
func moment(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, ok := length(text); ok {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || at.IsZero() { // the zero time would choose nothing
		return time.Time{}, usagef("%s must be an RFC 3339 time or a duration such as 24h or 7d", flag)
	}
	return at, nil
}

// span reads a duration.
func span(flag, text string) (d time.Duration, given bool, err error) {
	if text == "" {
		return 0, false, nil
	}
	if d, ok := length(text); ok {
		return d, true, nil
	}
	return 0, false, usagef("%s must be a duration such as 24h or 14d", flag)
}

// mostDays is some 179 years: more would leave the range of a duration.
const mostDays = 1 << 16

// length reads what Go calls a duration, or whole days, which it does not know.
func length(text string) (time.Duration, bool) {
	if days, isDays := strings.CutSuffix(text, "d"); isDays {
		n, err := strconv.Atoi(days)
		return time.Duration(n) * day, err == nil && n >= 0 && n < mostDays
	}
	d, err := time.ParseDuration(text)
	return d, err == nil && d >= 0
}
