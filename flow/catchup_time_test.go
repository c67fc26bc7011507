package flow_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/flow"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// crowd is many connections of all ages.
type crowd struct {
	*world
	ids []string
}

// crowdOf connects n users, one after the other, over so much time.
func crowdOf(t *testing.T, n int, over time.Duration) *crowd {
	t.Helper()
	c := &crowd{world: newWorld(t, finxtest.Options{RevokeOnReuse: true}, func(w *world) { w.timersOnly = true })}
	for i := range n {
		c.ids = append(c.ids, c.connect(fmt.Sprintf("user-%03d@example.com", i)).ID)
		time.Sleep(over / time.Duration(n))
	}
	synctest.Wait()
	c.timersOnly = false // a restart is that of the whole service
	return c
}

// overdue is what ought to be rotated when the service starts, in the order in
// which it ought to happen.
type overdue struct {
	id, token string
	ends      time.Time
}

// backlog returns what the stores say is overdue: savable first, the first to
// end first, and then what is past its end.
func (c *crowd) backlog() (savable, ended []overdue, others map[string]string) {
	c.t.Helper()
	others = map[string]string{}
	for _, id := range c.ids {
		tokens, _, err := c.secrets.Get(c.t.Context(), id)
		c.must(err)
		one := overdue{id, tokens.RefreshToken.Reveal(), tokens.RefreshObtainedAt.Add(lifetime)}
		switch rec := c.record(id); {
		case rec.KeepAliveAt.After(time.Now()):
			others[one.token] = id
		case one.ends.After(time.Now()):
			savable = append(savable, one)
		default:
			ended = append(ended, one)
		}
	}
	for _, list := range [][]overdue{savable, ended} {
		slices.SortFunc(list, func(a, b overdue) int { return a.ends.Compare(b.ends) })
	}
	return savable, ended, others
}

// After weeks without the service its timers are all overdue, or lost. Whatever
// the broker does with them, the connections are refreshed in order of urgency,
// within the rate, and users hear of what could not be saved.
func TestAfterALongDowntimeTheMostUrgentGoFirst(t *testing.T) {
	for _, c := range []struct {
		name   string
		down   time.Duration
		lost   bool // the timers
		loses  bool // connections end meanwhile
		expect int  // at least so many are overdue
	}{
		{name: "30 days", down: 30 * day, expect: 150},
		{name: "45 days", down: 45 * day, expect: 200, loses: true},
		{name: "30 days and the timers are gone", down: 30 * day, lost: true, expect: 150},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := crowdOf(t, 400, 80*day)
				restart := w.stop()
				w.pass(c.down)
				if c.lost {
					restart = w.start
					for _, id := range w.ids {
						_, err := w.timers.CancelSchedule(t.Context(), id)
						w.must(err)
					}
				}
				savable, ended, others := w.backlog()
				if len(savable)+len(ended) < c.expect || (len(ended) > 0) != c.loses || len(others) < 50 {
					t.Fatalf("%d savable, %d ended, %d others: not the case to be tested", len(savable), len(ended), len(others))
				}
				before, start := len(w.wire.refreshes()), time.Now()
				restart()
				w.pass(10 * time.Minute)
				w.wantOrder(w.wire.refreshes()[before:], append(savable, ended...), start)
				w.wantKept(savable, ended)
				if s := w.sandbox.Stats(); s.RefreshesReused != 0 || s.FamiliesRevoked != 0 {
					t.Errorf("%d tokens were sent twice", s.RefreshesReused)
				}
				w.end()
				// And from here on the timers do it alone.
				w.pass(100 * day)
				if lost := len(w.bus.all(events.TypeReauthorizationRequired)); lost != len(ended) {
					t.Errorf("%d connections were lost after a hundred days more, want the %d of before", lost, len(ended))
				}
			})
		})
	}
}

// wantOrder compares what was sent to finX with what ought to have been.
func (c *crowd) wantOrder(got []spent, want []overdue, start time.Time) {
	c.t.Helper()
	if len(got) != len(want) {
		c.t.Errorf("%d tokens were used, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if got[i].token != want[i].token {
			c.t.Fatalf("%s after the start: the %d. token used is not that of the %d. in urgency, but %d",
				got[i].at.Sub(start), i+1, i+1, 1+slices.IndexFunc(want, func(o overdue) bool { return o.token == got[i].token }))
		}
		if i > 0 && got[i].at.Sub(got[i-1].at) < time.Duration(float64(time.Second)/rate) {
			c.t.Fatalf("the %d. token follows the one before after %s: more than %v a second", i+1, got[i].at.Sub(got[i-1].at), rate)
		}
	}
	if took, limit := got[len(got)-1].at.Sub(start), time.Duration(float64(len(want))/rate*float64(time.Second))+10*time.Second; took > limit {
		c.t.Errorf("it took %s, the rate allows %s", took, limit)
	}
}

// wantKept checks what became of each connection.
func (c *crowd) wantKept(savable, ended []overdue) {
	c.t.Helper()
	for _, one := range savable {
		rec := c.record(one.id)
		timer, set := c.timers.Waiting()[events.SubjectTimerKeepAlive+"."+one.id]
		if rec.State != connection.Established || time.Until(rec.RefreshObtainedAt.Add(lifetime)) < lifetime-time.Hour {
			c.t.Errorf("connection %s: state %s, token of %s", one.id, rec.State, rec.RefreshObtainedAt)
		}
		// An overdue timer that fires while its connection is refreshed asks again in
		// a while, and then finds that nothing is due: earlier does no harm.
		if !set || timer.Sub(rec.KeepAliveAt) > time.Second {
			c.t.Errorf("connection %s: timer set to %s, the record says %s", one.id, timer, rec.KeepAliveAt)
		}
	}
	told := map[string]int{}
	for _, o := range c.bus.all(events.TypeReauthorizationRequired) {
		told[o.ConnectionID]++
	}
	for _, one := range ended {
		if told[one.id] != 1 || c.record(one.id).State != connection.ReauthorizationRequired {
			c.t.Errorf("connection %s was lost: state %s, announced %d times", one.id, c.record(one.id).State, told[one.id])
		}
	}
	if len(told) != len(ended) {
		c.t.Errorf("%d announcements, want %d", len(told), len(ended))
	}
}

// finX is still away when the service starts: the catch-up does not run through
// all connections in vain, and is done when finX is back.
func TestCatchUpStopsWhenFinXIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := crowdOf(t, 100, 20*day)
		restart := w.stop()
		time.Sleep(50 * day)
		w.wire.cut(true)
		other, err := flow.New(w.cfg)
		w.must(err)
		if err := other.CatchUp(t.Context()); fault.DependencyOf(err) != fault.FinX {
			t.Errorf("a catch-up without finX: error %v", err)
		}
		if n := w.wire.refusals(); n == 0 || n > 30 {
			t.Errorf("%d calls in vain, want few", n)
		}
		restart()
		time.Sleep(3 * time.Hour)
		w.wire.cut(false)
		w.pass(2 * time.Hour)
		for _, id := range w.ids {
			if rec := w.record(id); time.Until(rec.RefreshObtainedAt.Add(lifetime)) < lead {
				t.Errorf("connection %s was not refreshed: %s", id, rec.RefreshObtainedAt)
			}
		}
		if s := w.sandbox.Stats(); s.RefreshesReused != 0 {
			t.Errorf("%d tokens were sent twice", s.RefreshesReused)
		}
		w.end()
	})
}

// One connection that finX cannot serve keeps no other waiting.
func TestCatchUpGoesOnPastAnIllConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := crowdOf(t, 30, 5*day)
		restart := w.stop()
		time.Sleep(58 * day)
		_, err := w.sandbox.AddFault(finxtest.Fault{Call: "token.refresh", Times: 2 * 3, Status: 500})
		w.must(err)
		restart()
		w.pass(3 * time.Hour)
		for _, id := range w.ids {
			if rec := w.record(id); time.Until(rec.KeepAliveAt) < 0 {
				t.Errorf("connection %s is still overdue", id)
			}
		}
		w.end()
	})
}

// unreadable is a catalogue that names, at its end, what it could not read.
type unreadable struct {
	flow.Catalogue
	err error
}

func (u unreadable) List(ctx context.Context, each func(connection.Record) error) error {
	if err := u.Catalogue.List(ctx, each); err != nil {
		return err
	}
	return u.err
}

// A record that nobody can read is no reason to walk over all of them every
// minute; a broker that is away is.
func TestCatchUpGoesOnPastUnreadableRecords(t *testing.T) {
	away := fault.Transient(fault.NATS, errors.New("no responders"))
	for _, c := range []struct{ list, want error }{{errors.New("a record of version 9"), nil}, {away, away}} {
		synctest.Test(t, func(t *testing.T) {
			w := crowdOf(t, 5, day)
			w.stop()
			time.Sleep(60 * day)
			w.cfg.Background.Catalogue = unreadable{w.records, c.list}
			other, err := flow.New(w.cfg)
			w.must(err)
			if err := other.CatchUp(t.Context()); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if n := w.sandbox.Stats().Rotations; n != 5 {
				t.Errorf("%d rotations, want those of the readable", n)
			}
		})
	}
}

// Two replicas share the work by the lock: the second leaves it to the first.
func TestOneReplicaCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := crowdOf(t, 20, 2*day)
		restart := w.stop()
		time.Sleep(60 * day)
		_, release, err := w.cfg.Lock(context.Background(), "keepalive.catchup") //nolint:usetesting // a lock of another process
		w.must(err)
		before := len(w.wire.refreshes())
		w.start()
		w.must(w.CatchUp(t.Context()))
		if n := len(w.wire.refreshes()); n != before {
			t.Errorf("%d tokens were used although another replica is at it", n-before)
		}
		release()
		w.end()
		restart()
		time.Sleep(time.Minute)
		if n := len(w.wire.refreshes()); n != before+20 {
			t.Errorf("%d tokens were used, want 20", n-before)
		}
		w.end()
	})
}
