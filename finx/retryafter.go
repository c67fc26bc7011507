package finx

import (
	"net/http"
	"strings"
	"time"
)

// maxRetryAfter bounds what finX may ask for: a mistyped date must not park a
// connection for years.
const maxRetryAfter = 24 * time.Hour

// retryAfter returns the wait that the Retry-After header of an answer asks for,
// at most maxRetryAfter; ok is false when it asks for none: no header, no valid
// value (RFC 9110 §10.2.3: seconds or an HTTP date), zero, or a date in the past.
//
// A date is measured against the answer's own Date header when there is one, so
// that a difference between the two clocks does not become a wait.
func retryAfter(h http.Header, now time.Time) (wait time.Duration, ok bool) {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0, false
	}
	if strings.Trim(v, "0123456789") == "" {
		return clampWait(secondsOf(v))
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0, false
	}
	if sent, err := http.ParseTime(h.Get("Date")); err == nil {
		now = sent
	}
	return clampWait(at.Sub(now))
}

// secondsOf reads a row of digits of any length.
func secondsOf(digits string) time.Duration {
	var total time.Duration
	for _, d := range digits {
		total = total*10 + time.Duration(d-'0')*time.Second
		if total > maxRetryAfter {
			return maxRetryAfter
		}
	}
	return total
}

func clampWait(wait time.Duration) (time.Duration, bool) {
	if wait <= 0 {
		return 0, false
	}
	return min(wait, maxRetryAfter), true
}
