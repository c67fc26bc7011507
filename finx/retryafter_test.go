package finx

import (
	"net/http"
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 10, 21, 7, 28, 0, 0, time.UTC)
	at := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	tests := map[string]struct {
		value, date string
		want        time.Duration // 0: none
	}{
		"none":                         {"", "", 0},
		"seconds":                      {" 120 ", "", 2 * time.Minute},
		"zero":                         {"0", "", 0},
		"negative":                     {"-5", "", 0},
		"fraction":                     {"1.5", "", 0},
		"just the limit":               {"86400", "", 24 * time.Hour},
		"beyond the limit":             {"86401", "", 24 * time.Hour},
		"beyond any integer":           {"99999999999999999999999", "", 24 * time.Hour},
		"date":                         {at(time.Hour), "", time.Hour},
		"past date":                    {at(-time.Hour), "", 0},
		"far date":                     {at(1000 * time.Hour), "", 24 * time.Hour},
		"date of a clock that is fast": {at(3*time.Hour + time.Minute), at(3 * time.Hour), time.Minute},
		"date of a clock that is slow": {at(-time.Hour + time.Minute), at(-time.Hour), time.Minute},
		"date and an unreadable clock": {at(time.Minute), "today", time.Minute},
		"RFC 850 date":                 {"Wednesday, 21-Oct-26 07:29:00 GMT", "", time.Minute},
		"words":                        {"in a while", "", 0},
	}
	for name, tc := range tests {
		got, ok := retryAfter(http.Header{"Retry-After": {tc.value}, "Date": {tc.date}}, now)
		if got != tc.want || ok != (tc.want > 0) {
			t.Errorf("%s: %v %v, want %v", name, got, ok, tc.want)
		}
	}
}
