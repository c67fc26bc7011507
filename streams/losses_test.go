package streams

import (
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/internal/natstest"
)

// A limit on timers or records drops them silently, so it is drift.
func TestLimitsThatLoseTimersAndRecordsAreDrift(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	topology := Plan(Config{})
	apply(t, topology, js)
	timers := mustStream(t, js, "FINX_TIMERS").Config
	timers.MaxMsgs, timers.MaxAge, timers.MaxBytes = 5, time.Hour, 1<<20
	mustUpdate(t, js, timers)
	records := mustStream(t, js, "KV_finx_connections").Config
	records.MaxAge = time.Hour
	mustUpdate(t, js, records)
	text := lines(diff(t, topology, js))
	for _, want := range []string{"FINX_TIMERS: max_msgs", "FINX_TIMERS: max_age", "FINX_TIMERS: max_bytes", "finx_connections: max_age"} {
		if name, field, _ := strings.Cut(want, ": "); !mentions(text, name, field) {
			t.Errorf("nothing is said of %s:\n%s", want, text)
		}
	}
}

// mentions reports whether one line names both.
func mentions(text, name, field string) bool {
	for line := range strings.Lines(text) {
		if strings.Contains(line, "manual") && strings.Contains(line, name) && strings.Contains(line, field) {
			return true
		}
	}
	return false
}
