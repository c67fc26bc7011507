package publishertest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/publisher/publishertest"
)

const connectionID = "5b0a7a5e-6a57-5c8e-9d5b-1f3d1c9a2b4e"

func TestMemoryKeepsTheContract(t *testing.T) {
	publishertest.RunTimers(t, synctest.Test, func(_ *testing.T, due publishertest.DueFunc) publishertest.Scheduler {
		timers := publishertest.NewTimers()
		timers.OnDue(due)
		return timers
	})
}

// A quarter passes in no time, and to the second.
func TestMemoryFollowsTheFakeClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		timers := publishertest.NewTimers()
		var fired []time.Time
		timers.OnDue(func(_ string, e events.Envelope) {
			fired = append(fired, time.Now())
			d, err := events.DecodeKeepAliveDue(e)
			if err == nil {
				err = timers.ScheduleKeepAlive(t.Context(), d.ConnectionID, time.Now().Add(30*24*time.Hour))
			}
			if err != nil {
				t.Error(err)
			}
		})
		start := time.Now()
		if err := timers.ScheduleKeepAlive(t.Context(), connectionID, start.Add(30*24*time.Hour)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(91 * 24 * time.Hour)
		synctest.Wait()
		if len(fired) != 3 || !fired[2].Equal(start.Add(90*24*time.Hour)) {
			t.Errorf("fired at %v", fired)
		}
		if at := timers.Waiting()["finx.timer.keepalive."+connectionID]; !at.Equal(start.Add(120 * 24 * time.Hour)) {
			t.Errorf("the next is due at %v", at)
		}
	})
}

// What comes due while nobody takes it is not lost.
func TestWhatCameDueEarlyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		timers := publishertest.NewTimers()
		if err := timers.ScheduleKeepAlive(t.Context(), connectionID, time.Now()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := len(timers.Waiting()); n != 0 {
			t.Fatalf("%d timers are set", n)
		}
		var got []string
		timers.OnDue(func(subject string, _ events.Envelope) { got = append(got, subject) })
		synctest.Wait()
		if len(got) != 1 || got[0] != "finx.due.keepalive."+connectionID {
			t.Errorf("got %q", got)
		}
	})
}
