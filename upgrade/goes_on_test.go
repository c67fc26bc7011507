package upgrade_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/dlq"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/streams"
)

// TestTodaysCodeGoesOn restores what a release has left behind, starts today's
// connector on it, and sees every connection to where the release would have taken it.
func TestTodaysCodeGoesOn(t *testing.T) {
	t.Parallel()
	all := releases(t)
	for _, release := range all {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			newWorld(t).goesOn(load(t, release))
		})
	}
	// A fixture must serve for years: nothing in the tests may hang on its age.
	t.Run("eight years later", func(t *testing.T) {
		t.Parallel()
		f := load(t, all[len(all)-1])
		f.age(8) // leap years stay leap years
		newWorld(t).goesOn(f)
	})
}

func (w *world) goesOn(f *fixture) {
	w.Helper()
	w.restore(f)
	old := w.shapes(f)
	// Every access token counts as used up, so that each refresh token is tried.
	stop := w.serve(map[string]string{"FINX_REFRESH_SKEW": "1h"})
	w.pendingEndsWell(f)
	w.standingGoesOn(f)
	w.usersComeBack(f)
	w.lettersAreRedriven(f)
	if s := w.sandbox.Stats(); s.RefreshesReused != 0 || s.CodesReused != 0 {
		w.Errorf("%d refresh tokens and %d codes were used twice", s.RefreshesReused, s.CodesReused)
	}
	stop()
	w.keepShape(f, old)
}

// fetchOf waits until the fetch that an event asked for is the connection's last.
func (w *world) fetchOf(name, id, event string) {
	w.Helper()
	want := events.FetchID(events.Envelope{ID: event, Source: events.Source})
	w.eventually(name+": "+event+" is fetched", func() bool {
		r := w.record(id)
		return r.FetchDone(want) && len(w.fetched(id, want)) > 0
	})
}

// fetched returns the completed fetches of that id.
func (w *world) fetched(id, fetch string) (all []events.Output) {
	for _, o := range w.outputs(events.TypeFetchCompleted, id) {
		if bytes.Contains(o.Data, []byte(`"`+fetch+`"`)) {
			all = append(all, o)
		}
	}
	return all
}

// pendingEndsWell: what was not done when the release ended is done: open marks are
// resolved, answers in escrow and in the spool come home, the parked event resumes.
func (w *world) pendingEndsWell(f *fixture) {
	w.Helper()
	for _, name := range []string{"rotating", "escrowed", "spooled", "parked"} {
		if name == "parked" && f.IDs[name] == "" {
			continue // the release did not park
		}
		id := f.id(w.T, name)
		w.fetchOf(name, id, "sync-"+name)
		if mark := w.secret(id)["pending"]; mark != nil {
			w.Errorf("%s: a mark is open: %v", name, mark)
		}
	}
	id := f.id(w.T, "exchanging")
	w.eventually("the code is exchanged", func() bool { return w.record(id).State == connection.Established })
	id = f.id(w.T, "requested")
	w.eventually("the link is made", func() bool { return w.record(id).State == connection.LinkCreated })
	for _, e := range f.kv {
		if e.Bucket == "finx_escrow" && w.value(e.Bucket, e.Key) != nil {
			w.Errorf("%s is in escrow still", e.Key)
		}
	}
}

// standingGoesOn: an established connection is fetched, its token rotated, and its
// timers, as the release set them, are understood when they are due.
func (w *world) standingGoesOn(f *fixture) {
	w.Helper()
	id := f.id(w.T, "established")
	rotated := rotation(w, id)
	w.emit(events.TypeSyncRequested, "sync-today", events.SyncRequested{ConnectionID: id})
	w.fetchOf("established", id, "sync-today")
	if after := rotation(w, id); after <= rotated {
		w.Errorf("its token was rotated %v times, before %v", after, rotated)
	}
	// Its timers have fired meanwhile: the fetch that one asked for is done, and the
	// other one found nothing to do yet.
	timer := func(kind string) message {
		i := slices.IndexFunc(f.messages, func(m message) bool { return m.Subject == "finx.timer."+kind+"."+id })
		if i < 0 {
			w.Fatalf("the release has set no timer for %s", kind)
		}
		return f.messages[i]
	}
	env, err := events.Codec{}.Parse(timer("sync").message())
	w.must(err)
	w.eventually("the timer's fetch is done", func() bool {
		// After a long time it may be one that today's code set because this was overdue.
		return w.record(id).FetchDone(events.FetchID(env)) || slices.ContainsFunc(w.outputs(events.TypeFetchCompleted, id), func(o events.Output) bool {
			return bytes.Contains(o.Data, []byte(`"trigger":"schedule"`))
		})
	})
	due := timer("keepalive").message()
	if env, err = (events.Codec{}).Parse(due); err == nil {
		_, err = events.DecodeKeepAliveDue(env)
	}
	w.must(err)
	w.eventually("nothing is due any more", func() bool {
		c, err := w.js.Consumer(w.ctx(), events.StreamTimers, streams.DurableDue)
		w.must(err)
		return c.CachedInfo().NumPending == 0 && c.CachedInfo().NumAckPending == 0
	})
	for name, want := range map[string]connection.State{"callback_received": connection.CallbackReceived, "erased": connection.Erased} {
		if r := w.record(f.id(w.T, name)); r.State != want || r.UserID == "" {
			w.Errorf("%s is read as %+v", name, r)
		}
	}
}

func rotation(w *world, id string) float64 {
	n, _ := w.secret(id)["rotation"].(float64)
	return n
}

// usersComeBack: links that were out lead on, also for those who cancelled, and
// renewals renew.
func (w *world) usersComeBack(f *fixture) {
	w.Helper()
	for name, state := range map[string]string{
		"link_created": "state-link_created", "failed": "state-failed",
		"reauthorization_required": w.record(f.id(w.T, "reauthorization_required")).RenewalState,
	} {
		id := f.id(w.T, name)
		back := w.approve(w.link("user-"+name, state))
		body, err := json.Marshal(map[string]string{"callback_url": back.String()})
		w.must(err)
		w.publish(events.TypeCallbackReceived, nil, body)
		w.eventually(name+" is established", func() bool {
			r := w.record(id)
			return r.State == connection.Established && r.LastFetch != nil && r.LastFetch.StartedAt.After(r.Since.Add(-1))
		})
	}
}

// link asks finX for one that leads back with a state, as the release did; links are
// no part of what is restored.
func (w *world) link(user, state string) string {
	w.Helper()
	body, err := json.Marshal(map[string]any{"user_id": user, "redirect_uri": redirectURI, "state": state, "language": "en"})
	w.must(err)
	req, err := http.NewRequestWithContext(w.ctx(), http.MethodPost, w.bank.URL+"/ongoing/access", bytes.NewReader(body))
	w.must(err)
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth(clientID, clientSecret)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	w.must(err)
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	w.must(err)
	var answer struct {
		Location string `json:"location"`
	}
	w.must(json.Unmarshal(raw, &answer))
	return answer.Location
}

// lettersAreRedriven: dead letters of every class are read, and those that can be are
// put back on their way.
func (w *world) lettersAreRedriven(f *fixture) {
	w.Helper()
	q, err := dlq.New(dlq.Config{JS: w.js})
	w.must(err)
	seen := map[fault.Class]dlq.Letter{}
	w.must(q.Each(w.ctx(), dlq.Filter{}, func(l dlq.Letter) error { seen[l.Reason] = l; return nil }))
	classes := []fault.Class{fault.Malformed, fault.Rejected, fault.Exhausted, fault.UnknownState, fault.Oversize, fault.Outage}
	if f.IDs["parked"] != "" {
		classes = append(classes, fault.Expired) // is for what was parked
	}
	for _, class := range classes {
		l, ok := seen[class]
		if !ok || l.Error == "" || l.Original.Sequence == 0 || l.Attempts == 0 || l.Time.IsZero() {
			w.Errorf("%s: %+v", class, l)
		}
	}
	if len(seen) != len(classes) {
		w.Errorf("dead letters of %d classes: something new was given up", len(seen))
	}
	for class, refetched := range map[fault.Class]bool{fault.Outage: false, fault.Exhausted: false, fault.Rejected: true, fault.UnknownState: true, fault.Malformed: false} {
		e, err := q.Prepare(w.ctx(), seen[class])
		if err != nil || e.Refetched != refetched || (e.Wrong != nil) != (class == fault.Malformed) {
			w.Errorf("%s: %v, refetched %v, wrong: %v", class, err, e.Refetched, e.Wrong)
			continue
		}
		if class == fault.Outage || class == fault.Exhausted {
			_, err := q.Redrive(w.ctx(), e, "upgrade")
			w.must(err)
			w.fetchOf(string(class), f.id(w.T, string(class)), "sync-"+string(class))
		}
	}
	for _, m := range w.stored(events.StreamDLQ) {
		if strings.Contains(string(m.Data), "fixture-code") {
			w.Errorf("a code is in dead letter %d", m.Sequence)
		}
	}
}
