package e2e_test

import (
	"slices"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
)

// TestTheScheduleGoesOn lets an interval of two seconds come due again and again.
func TestTheScheduleGoesOn(t *testing.T) {
	r := newRig(t, options{memory: true, env: map[string]string{"SYNC_INTERVAL": "2s", "FETCH_OVERLAP": "24h"}})
	r.start()
	link, first := r.establish("schedule@example.com")
	ids := []string{first.FetchID}
	for n := 2; n <= 4; n++ {
		next := r.completed(link.ConnectionID, n)
		if next.Trigger != events.TriggerSchedule || slices.Contains(ids, next.FetchID) {
			t.Errorf("fetch %d is by %s, its id was there before: %t", n, next.Trigger, slices.Contains(ids, next.FetchID))
		}
		ids = append(ids, next.FetchID)
		for _, part := range r.parts(next) {
			if part.Window.Since == "" {
				t.Error("a scheduled fetch begins at the beginning of time")
			}
		}
	}
	timers, err := r.js.Stream(t.Context(), events.StreamTimers)
	if err != nil {
		t.Fatal(err)
	}
	// The next sync, the one that came due, and the keep-alive.
	if n := timers.CachedInfo().State.NumSubjects; n > 3 {
		t.Errorf("%d subjects with timers of one connection", n)
	}
}

// TestWindows asks for parts of the history.
func TestWindows(t *testing.T) {
	r := newRig(t, options{memory: true, sandbox: finxtest.Options{Shape: finxtest.Shape{Accounts: 2, Transactions: 400, EmptyAccounts: 1, Days: 80}}})
	r.start()
	link, first := r.establish("windows@example.com")
	day := func(ago int) string { return time.Now().UTC().AddDate(0, 0, -ago).Format(time.DateOnly) }
	until := day(-1)
	window := func(e event) events.Window {
		t.Helper()
		parts := r.parts(e)
		if len(parts) == 0 {
			t.Fatal("no parts")
		}
		for _, p := range parts {
			if p.Window != parts[0].Window || p.Trigger != e.Trigger || p.FetchID != e.FetchID {
				t.Errorf("part %s is of another window, trigger or fetch", p.ID)
			}
		}
		return parts[0].Window
	}
	if w := window(first); w != (events.Window{Until: until}) || first.Trigger != events.TriggerCallback {
		t.Errorf("the first fetch by %s has %+v", first.Trigger, w)
	}
	for i, c := range []struct {
		name string
		ask  map[string]any
		want events.Window
		all  bool
	}{
		{"by the marks", map[string]any{}, events.Window{Since: day(10), Until: until}, false},
		{"since a date", map[string]any{"since": day(5)}, events.Window{Since: day(5), Until: until}, false},
		{"everything", map[string]any{"full": true}, events.Window{Until: until}, true},
	} {
		c.ask["connection_id"] = link.ConnectionID
		id := r.send(events.TypeSyncRequested, c.ask)
		e := r.completed(link.ConnectionID, i+2)
		if w := window(e); w != c.want || e.Trigger != events.TriggerRequest || e.CausationID != id {
			t.Errorf("%s: %+v by %s, want %+v", c.name, w, e.Trigger, c.want)
		}
		if all := string(e.Transactions) == string(first.Transactions); all != c.all {
			t.Errorf("%s: %s transactions of %s", c.name, e.Transactions, first.Transactions)
		}
	}
}

// TestTheSameRequestIsTheSameFetch holds ids to the contract: one request has
// one set of ids however often it comes; another request is another fetch, also
// of unchanged data.
func TestTheSameRequestIsTheSameFetch(t *testing.T) {
	r := newRig(t, options{memory: true})
	r.start()
	link, _ := r.establish("ids@example.com")
	ask := r.structured(events.TypeSyncRequested, "ask-1", syncData(link.ConnectionID))
	r.publish(events.TypeSyncRequested, ask)
	one := r.completed(link.ConnectionID, 2)
	r.publish(events.TypeSyncRequested, ask)
	r.publish(events.TypeSyncRequested, r.structured(events.TypeSyncRequested, "ask-2", syncData(link.ConnectionID)))
	other := r.completed(link.ConnectionID, 3)
	if other.CausationID != "ask-2" || other.FetchID == one.FetchID {
		t.Errorf("the third fetch is %s by %s", other.FetchID, other.CausationID)
	}
	for _, id := range other.EventIDs {
		if slices.Contains(one.EventIDs, id) {
			t.Errorf("part %s is of two fetches", id)
		}
	}
	r.idle(events.StreamRequests, "finx-syncs")
	if n := len(r.seen.of(events.TypeFetchCompleted, link.ConnectionID)); n != 3 {
		t.Errorf("%d completed fetches, want 3", n)
	}
}

// TestARequestForAConnectionThatIsNotThereYet is told what is wrong.
func TestARequestForAConnectionThatIsNotThereYet(t *testing.T) {
	r := newRig(t, options{memory: true})
	r.start()
	link := r.connect("early@example.com")
	id := r.send(events.TypeSyncRequested, syncData(link.ConnectionID))
	failed := r.event("failed fetch", func(e event) bool { return e.Type == events.TypeFetchFailed })
	if failed.CausationID != id || failed.Trigger != events.TriggerRequest || failed.Reason == "" || failed.User != "early@example.com" {
		t.Errorf("%s", failed.Data)
	}
}

// TestAMoodyBank answers with everything but data for a while.
func TestAMoodyBank(t *testing.T) {
	r := newRig(t, options{memory: true, env: map[string]string{"PAGE_SIZE": "50", "FINX_RETRY_BUDGET": "1s", "FINX_THROTTLE_DEFAULT": "1s"}})
	r.start()
	for _, f := range []finxtest.Fault{
		{Call: "access", Times: 1, Status: 502, HTML: "<html>Bad Gateway"},
		{Call: "accounts", Times: 2, Status: 503, RetryAfter: "1"},
		{Call: "transactions", Nth: 2, Drop: "after"},
		{Call: "transactions", Nth: 4, Truncate: 700},
		{Call: "transactions", Nth: 6, Status: 429, RetryAfter: "1"},
		{Call: "transactions", Nth: 8, Status: 500, Code: 30000},
		{Call: "token.exchange", Times: 1, Drop: "before"},
	} {
		r.fault(f)
	}
	link, completed := r.establish("moody@example.com")
	if string(completed.Transactions) != "246" {
		t.Errorf("%s transactions, want 246", completed.Transactions)
	}
	r.parts(completed)
	if n := len(r.seen.of(events.TypeFetchFailed, link.ConnectionID)); n != 0 {
		t.Errorf("%d failed fetches were announced", n)
	}
	if s := r.sandbox.Stats(); s.CodesExchanged != 1 || s.CodesReused != 0 {
		t.Errorf("%d codes exchanged, %d reused", s.CodesExchanged, s.CodesReused)
	}
	if letters := r.seen.lettersSoFar(); len(letters) != 0 {
		t.Errorf("%d dead letters", len(letters))
	}
}
