package main

import (
	"testing"
	"time"
)

func TestMomentsAndSpans(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"":                     {},
		"0s":                   now,
		"90m":                  now.Add(-90 * time.Minute),
		"10d":                  now.Add(-240 * time.Hour),
		"2026-11-01T00:00:00Z": time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
	} {
		if got, err := moment("--since", text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"-1h", "-1d", "d", "1.5d", "65536d", "99999999999999999999d", "2026-11-01", "yesterday"} {
		if got, err := moment("--since", text, now); err == nil {
			t.Errorf("%q is taken for %s", text, got)
		}
		if got, _, err := span("--stale", text); err == nil {
			t.Errorf("%q is taken for %s", text, got)
		}
	}
}
