package replay_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/replay"
)

// crowd stores records: n established ones and one of every other kind.
func (r *rig) crowd(n int) {
	now := time.Now().UTC()
	for i := range n {
		rec := established(r.t, id(i), fmt.Sprint("user ", i%2))
		if i == 0 {
			marks := map[string]connection.AccountMark{"A1": {}, "A2": {}}
			rec = rec.OpenFetch("f", "schedule", connection.Ask{}, now).CloseFetch(now, marks, 5001)
		}
		r.record(rec)
	}
	lost := established(r.t, id(1000), "user 0")
	lost, err := lost.RequireReauthorization(now, "refresh_rejected", "")
	if err != nil {
		r.t.Fatal(err)
	}
	r.record(lost)
	r.record(connection.New(id(1001), "user 1", now))
}

func (r *rig) requests() []events.Envelope {
	r.t.Helper()
	var all []events.Envelope
	for _, m := range r.stream(events.StreamRequests) {
		all = append(all, r.envelope(m))
	}
	return all
}

func TestRefetchAsksForFetches(t *testing.T) {
	r := newRig(t, setup{})
	r.crowd(5)
	since := time.Date(2026, 8, 1, 13, 0, 0, 0, time.UTC)
	everything := fmt.Sprint(r.everything())
	j := r.plan(replay.Request{Mode: replay.Refetch, Selection: replay.Selection{Since: since, Until: since.AddDate(0, 0, 30)}, Reason: "gap in August"})
	if fmt.Sprint(r.everything()) != everything {
		t.Error("planning changed the broker")
	}
	p := j.Planned
	// 4 that were never fetched: accounts + 1 account; one with 2 accounts of 2501 transactions: 1 + 2×3 pages
	if p.Messages != 5 || p.Connections != 5 || p.BankCalls != 4*2+7 || !strings.Contains(p.BankCallsHow, "at least") {
		t.Errorf("%+v", p)
	}
	skipped := map[string][]string{}
	for _, s := range p.Skipped {
		skipped[s.Reason] = s.Examples
	}
	if len(skipped) != 2 || !slices.Equal(skipped["it is reauthorization_required: only an established one can be fetched"], []string{id(1000)}) {
		t.Errorf("%v", skipped)
	}
	late := established(t, id(2000), "user 0") // came after the plan
	late.CreatedAt = time.Now().UTC()
	r.record(late)
	if result := r.run(j); result.Replayed != 5 || result.Skipped != 2 {
		t.Errorf("%+v", result)
	}
	var got []string
	for _, e := range r.requests() {
		in, err := events.DecodeSyncRequested(e)
		if err != nil || in.Since != "2026-08-01" || in.Until != "2026-08-31" || in.Trigger != events.TriggerReplay || in.Reason != "gap in August" || e.ReplayID != j.ID() {
			t.Errorf("%v, %+v", err, in)
		}
		got = append(got, in.ConnectionID)
	}
	want := []string{id(0), id(1), id(2), id(3), id(4)}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	a := r.audits()
	if s := a[0]["selection"].(map[string]any); s["window_since"] != "2026-08-01" || s["window_until"] != "2026-08-31" || a[0]["bank_calls_estimated"] != 15.0 {
		t.Errorf("%v", a)
	}
}

func TestRefetchOfSome(t *testing.T) {
	r := newRig(t, setup{})
	r.crowd(6)
	for name, tc := range map[string]struct {
		req  replay.Request
		want []string
	}{
		"a user":       {replay.Request{Selection: replay.Selection{User: "user 1"}}, []string{id(1), id(3), id(5)}},
		"a connection": {replay.Request{Selection: replay.Selection{Connection: id(2)}, Full: true}, []string{id(2)}},
		"not of hers":  {replay.Request{Selection: replay.Selection{Connection: id(2), User: "user 1"}}, nil},
	} {
		tc.req.Mode = replay.Refetch
		before := len(r.requests())
		r.run(r.plan(tc.req))
		var got []string
		for _, e := range r.requests()[before:] {
			in, err := events.DecodeSyncRequested(e)
			if err != nil || in.Full != tc.req.Full || in.Since != "" {
				t.Errorf("%s: %v, %+v", name, err, in)
			}
			got = append(got, in.ConnectionID)
		}
		slices.Sort(tc.want)
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
	if _, err := r.replayer().Plan(t.Context(), replay.Request{Mode: replay.Refetch, By: "ops", Selection: replay.Selection{Connection: id(77)}}, nil); err == nil || !strings.Contains(err.Error(), "no connection "+id(77)) {
		t.Errorf("%v", err)
	}
}

// A resumed refetch asks nobody twice, also after a kill: the requests have ids
// of their own that come from the replay and the connection.
func TestRefetchIsResumed(t *testing.T) {
	r := newRig(t, setup{})
	r.crowd(20)
	replayID := r.killAfter(replay.Request{Mode: replay.Refetch}, 8)
	ended, _, err := r.store.Get(t.Context(), lastAsked(r))
	if err != nil {
		t.Fatal(err)
	}
	j := r.resume(replayID)
	result := r.run(j)
	if result.Replayed+result.Duplicates != 20 || result.Duplicates < 1 {
		t.Errorf("%+v", result)
	}
	asked := map[string]int{}
	for _, e := range r.requests() {
		in, err := events.DecodeSyncRequested(e)
		if err != nil {
			t.Fatal(err)
		}
		asked[in.ConnectionID]++
	}
	if len(asked) != 20 || asked[ended.ID] != 1 {
		t.Errorf("%d connections asked for, %v", len(asked), asked)
	}
}

func lastAsked(r *rig) string {
	all := r.requests()
	in, err := events.DecodeSyncRequested(all[len(all)-1])
	if err != nil {
		r.t.Fatal(err)
	}
	return in.ConnectionID
}

// A connection that came to its end between plan and run is not asked for.
func TestRefetchLooksOnceMore(t *testing.T) {
	r := newRig(t, setup{})
	r.crowd(3)
	j := r.plan(replay.Request{Mode: replay.Refetch})
	rec, revision, err := r.store.Get(t.Context(), id(1))
	if err == nil {
		rec, err = rec.RequireReauthorization(time.Now(), "access_revoked", "")
	}
	if err == nil {
		_, err = r.store.Update(t.Context(), rec, revision)
	}
	if err != nil {
		t.Fatal(err)
	}
	if result := r.run(j); result.Replayed != 2 || result.Skipped != 3 {
		t.Errorf("%+v", result)
	}
}

// records that fail to be listed as a whole.
type halfList struct{ replay.Records }

func (h halfList) List(ctx context.Context, each func(connection.Record) error) error {
	if err := h.Records.List(ctx, each); err != nil {
		return err
	}
	return &replay.UnreadableError{IDs: []string{id(5)}}
}

func TestRecordsThatCannotBeReadAreNoted(t *testing.T) {
	r := newRig(t, setup{})
	r.crowd(3)
	j, err := r.replayer(func(c *replay.Config) { c.Records = halfList{c.Records} }).Plan(t.Context(), replay.Request{Mode: replay.Refetch, By: "ops"}, nil)
	if err != nil || j.Planned.Messages != 3 || !strings.Contains(fmt.Sprint(j.Planned.Notes), "1 records cannot be read") {
		t.Errorf("%v, %+v", err, j)
	}
}
