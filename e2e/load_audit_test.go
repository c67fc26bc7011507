package e2e_test

import (
	"slices"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
)

// audit is everything that the streams hold for downstream, read anew when the
// work is over.
type audit struct {
	t        testing.TB
	events   []event
	named    map[string]bool // parts that are there, and whether a completed fetch names them
	repeated int             // events that are there more than once, under one id
}

func newAudit(r *rig) *audit {
	r.t.Helper()
	again := *r
	again.seen = newObserver(r.t, r.js, r.codec, false)
	for _, name := range []string{events.StreamEvents, events.StreamDLQ} {
		stream, err := r.js.Stream(r.t.Context(), name)
		if err != nil {
			r.t.Fatal(err)
		}
		last := stream.CachedInfo().State.LastSeq
		await(&again, within, name+" read to its end", func() (bool, bool) {
			return true, last == 0 || slices.ContainsFunc(again.seen.all, func(m events.Message) bool { return m.Stream == name && m.Sequence >= last })
		})
	}
	for _, m := range again.seen.lettersSoFar() {
		r.t.Errorf("dead letter %s of %s: %s", header(m, "Dlq-Reason"), header(m, "Dlq-Subject"), header(m, "Dlq-Error"))
	}
	again.seen.mu.Lock()
	defer again.seen.mu.Unlock()
	a := &audit{t: r.t, events: again.seen.events, named: map[string]bool{}}
	for _, e := range a.events {
		if e.Type == events.TypeTransactionsFetched {
			a.named[e.ID] = false
		}
	}
	a.repeated = len(a.events) - len(distinct(a.events))
	return a
}

// one holds that there is one such event, by its id, and returns it.
func (a *audit) one(what string, match func(event) bool) (event, bool) {
	a.t.Helper()
	fits := slices.DeleteFunc(slices.Clone(a.events), func(e event) bool { return !match(e) })
	if n := len(distinct(fits)); n != 1 {
		a.t.Errorf("%s: there are %d", what, n)
		return event{}, false
	}
	return fits[0], true
}

// whole holds that there is one such completed fetch and that all its parts are
// there, stored before it.
func (a *audit) whole(what string, match func(event) bool) {
	a.t.Helper()
	completed, ok := a.one(what, match)
	if !ok {
		return
	}
	if len(completed.EventIDs) == 0 {
		a.t.Errorf("%s has no parts", what)
	}
	for _, id := range completed.EventIDs {
		i := slices.IndexFunc(a.events, func(e event) bool { return e.ID == id })
		if i < 0 || a.events[i].Message.Sequence > completed.Message.Sequence {
			a.t.Errorf("%s names part %s, which is not stored before it", what, id)
			continue
		}
		a.named[id] = true
	}
}

// nothingElse holds that nobody was told of a failure and no part lies about
// that belongs to no fetch.
func (a *audit) nothingElse() {
	a.t.Helper()
	for _, e := range a.events {
		switch e.Type {
		case events.TypeWidgetLinkCreated, events.TypeConnectionEstablished, events.TypeFetchCompleted:
		case events.TypeTransactionsFetched:
			if !a.named[e.ID] {
				a.t.Errorf("part %s of fetch %s belongs to no completed fetch", e.ID, e.FetchID)
			}
		default:
			a.t.Errorf("downstream was told %s of %s: %s %s", e.Type, e.ConnectionID, e.Reason, e.Detail)
		}
	}
}

// audit holds what is stored against what upstream asked for: every input that
// the broker acknowledged has its outputs, whole, and what is stored twice has
// one id.
func (l *load) audit() {
	l.t.Helper()
	a := newAudit(l.rig)
	for _, in := range l.acked(events.TypeConnectRequested) {
		a.one("link by "+in.id, func(e event) bool { return e.Type == events.TypeWidgetLinkCreated && e.CausationID == in.id })
	}
	for _, in := range l.acked(events.TypeCallbackReceived) {
		a.one("connection.established by "+in.id, func(e event) bool {
			return e.Type == events.TypeConnectionEstablished && e.CausationID == in.id
		})
		a.whole("first fetch of "+in.connectionID, func(e event) bool {
			return e.Type == events.TypeFetchCompleted && e.ConnectionID == in.connectionID && e.Trigger == events.TriggerCallback
		})
	}
	for _, in := range l.acked(events.TypeSyncRequested) {
		a.whole("fetch by "+in.id, func(e event) bool { return e.Type == events.TypeFetchCompleted && e.CausationID == in.id })
	}
	a.nothingElse()
	l.custody()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.t.Logf("%d inputs, %d outputs, %d of them stored more than once; upstream repeated %d publishes, the longest took %s",
		len(l.inputs), len(a.events), a.repeated, l.repeats, l.longest.Round(time.Millisecond))
}

// custody holds the token calls against the codes: each is spent once, and
// nothing that was used comes again.
func (l *load) custody() {
	l.t.Helper()
	stats := l.sandbox.Stats()
	if n := len(l.acked(events.TypeCallbackReceived)); stats.CodesExchanged != n {
		l.t.Errorf("%d codes exchanged of %d callbacks", stats.CodesExchanged, n)
	}
	if stats.CodesReused+stats.RefreshesReused+stats.FamiliesRevoked > 0 {
		l.t.Errorf("%d codes and %d refresh tokens reused, %d families revoked", stats.CodesReused, stats.RefreshesReused, stats.FamiliesRevoked)
	}
	l.t.Logf("%d codes exchanged, %d refresh tokens rotated", stats.CodesExchanged, stats.Rotations)
}
