package events

import (
	"strings"
	"time"
)

// formatTime writes a time as every outgoing event has it: RFC 3339, UTC, as
// many fractional digits as there are.
func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// parseTime reads an RFC 3339 time as generously as one can without guessing
// the day: either case of T and Z or a blank for the T, 0–9 fractional digits,
// an offset with or without colon. A time without any zone is taken as UTC,
// because refusing a callback for it would cost the user the code.
func parseTime(s string) (time.Time, bool) {
	s = strings.ToUpper(strings.TrimSpace(s))
	if len(s) > 10 && s[10] == ' ' {
		s = s[:10] + "T" + s[11:]
	}
	s = strings.Replace(s, " ", "", 1) // "… +02:00"
	for _, layout := range [...]string{
		time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700", "2006-01-02T15:04:05.999999999Z07",
		"2006-01-02T15:04Z07:00", "2006-01-02T15:04:05.999999999",
	} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}
