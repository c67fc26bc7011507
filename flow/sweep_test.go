package flow_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

// leave puts a mark into a secret, as a process leaves it that dies in a call.
func leave(t testing.TB, m *vaultstoretest.Memory, id, kind string, spent secret.Text, age time.Duration) {
	t.Helper()
	rec, version, err := m.Get(t.Context(), id)
	if err != nil && !errors.Is(err, vaultstore.ErrNotFound) {
		t.Fatal(err)
	}
	if kind == "refresh" {
		spent = rec.RefreshToken
	}
	rec.Pending = &vaultstore.Pending{
		Kind: kind, Holder: "died", StartedAt: time.Now().Add(-age).UTC(), Attempt: 1, SHA256: spent.SHA256(),
	}
	if _, err := m.Put(t.Context(), id, rec, version); err != nil {
		t.Fatal(err)
	}
}

func TestSweepEndsAnOpenRotation(t *testing.T) {
	cases := []struct {
		name   string
		grace  time.Duration
		spent  bool // by the call whose process died
		reason []string
	}{
		{name: "finX never saw it"},
		{name: "finX gives the answer again", spent: true, grace: time.Minute},
		{name: "the answer is lost", spent: true, reason: []string{events.ReasonRotationOutcomeUnknown}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, finxtest.Options{Grace: c.grace})
			rec := r.established()
			if c.spent {
				tokens, _, err := r.secrets.Get(t.Context(), rec.ID)
				r.must(err)
				r.spend(tokens.RefreshToken)
			}
			leave(t, r.secrets, rec.ID, "refresh", secret.Text{}, time.Hour)
			for range 2 {
				r.must(r.Sweep(t.Context()))
			}
			if got := r.reasons(events.TypeReauthorizationRequired); !slices.Equal(got, c.reason) || r.bus.times(events.TypeReauthorizationRequired) > 1 {
				t.Errorf("reasons %v, want %v, once", got, c.reason)
			}
			want := connection.Established
			if c.reason != nil {
				want = connection.ReauthorizationRequired
			}
			if got := r.record(rec.ID).State; got != want {
				t.Errorf("state %s, want %s", got, want)
			}
			tokens, _, err := r.secrets.Get(t.Context(), rec.ID)
			if r.must(err); c.reason == nil && tokens.Pending != nil {
				t.Errorf("the mark is still open: %+v", tokens.Pending)
			}
		})
	}
}

// A process dies with the outcome kept and nobody told, or with everybody told
// and the record not moved.
func TestSweepTellsWhatADeadProcessCouldNot(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	rec := r.aged(59 * day)
	r.sandbox.RevokeUser(userID)
	r.bus.failOn(events.TypeReauthorizationRequired)
	r.must(r.keepAlive("due-1", rec.ID))
	r.bus.failOn("")
	r.must(r.Sweep(t.Context()))
	if got := r.reasons(events.TypeReauthorizationRequired); !slices.Equal(got, []string{events.ReasonRefreshRejected}) {
		t.Fatalf("reasons %v", got)
	}
	r.change(rec.ID, func(c *connection.Record) { c.State = connection.Established })
	r.must(r.Sweep(t.Context()))
	if n := len(r.published(events.TypeReauthorizationRequired)); n != 1 {
		t.Errorf("%d announcements of one end", n)
	}
	if n := r.sandbox.Stats().Total("token.refresh"); n != 1 {
		t.Errorf("%d times finX was asked, want once", n)
	}
}

func TestSweepEndsAnOpenExchange(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	rec, link := r.connect("connect-1", "state-1")
	callback := r.approve(link)
	r.must(r.records.ConsumeState(t.Context(), "state-1", connection.StateBinding{}, callback.Code.SHA256(), time.Now()))
	leave(t, r.secrets, rec.ID, "exchange", callback.Code, 2*time.Hour)
	for range 2 {
		r.must(r.Sweep(t.Context()))
	}
	all := r.published(events.TypeConnectionFailed)
	if got := r.reasons(events.TypeConnectionFailed); !slices.Equal(got, []string{events.ReasonExchangeOutcomeUnknown}) || !bytes.Contains(all[0].Data, []byte(`"state-1"`)) {
		t.Errorf("connection.failed %v", got)
	}
	if got := r.record(rec.ID).State; got != connection.Failed || r.bus.times(events.TypeConnectionFailed) != 1 {
		t.Errorf("state %s, told %d times", got, r.bus.times(events.TypeConnectionFailed))
	}
	// Its callback, delivered again at last, adds nothing and sends nothing.
	r.must(r.CallbackReceived(t.Context(), event("cb-1"), callback))
	if n := len(r.published(events.TypeConnectionFailed)); n != 1 || r.sandbox.Stats().Total("token.exchange") != 0 {
		t.Errorf("%d times connection.failed, %d exchanges", n, r.sandbox.Stats().Total("token.exchange"))
	}
}

func TestSweepLeavesAConnectionAloneThatStandsOtherwise(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	rec := r.established()
	// An early renewal whose answer was lost.
	another := secret.New("another-code-0000000")
	r.change(rec.ID, func(c *connection.Record) { c.RenewalState = "renewal-1" })
	r.must(r.records.BindState(t.Context(), "renewal-1", rec.ID))
	r.must(r.records.ConsumeState(t.Context(), "renewal-1", connection.StateBinding{}, another.SHA256(), time.Now()))
	leave(t, r.secrets, rec.ID, "exchange", another, 2*time.Hour)
	r.must(r.Sweep(t.Context()))
	if n := len(r.published(events.TypeConnectionFailed)); n != 0 || r.record(rec.ID).State != connection.Established {
		t.Errorf("%d times connection.failed, state %s", n, r.record(rec.ID).State)
	}
	// The same attempt for a connection that needs the user is one that failed.
	r.change(rec.ID, func(c *connection.Record) { c.State = connection.ReauthorizationRequired })
	r.must(r.Sweep(t.Context()))
	if got := r.reasons(events.TypeConnectionFailed); !slices.Equal(got, []string{events.ReasonExchangeOutcomeUnknown}) || r.record(rec.ID).State != connection.ReauthorizationRequired {
		t.Errorf("connection.failed %v, state %s", got, r.record(rec.ID).State)
	}
}

// spend uses a refresh token behind custody's back.
func (r *rig) spend(token secret.Text) {
	r.t.Helper()
	_, err := r.bank.Refresh(r.t.Context(), token)
	r.must(err)
}

// A mark that may be a call under way is looked at again in the same sweep, as
// soon as it can be judged, and not before.
func TestSweepWaitsForYoungMarks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var open atomic.Int64
		w := newWorld(t, finxtest.Options{}, func(w *world) {
			w.timersOnly = true
			w.cfg.Background.OpenMarks = func(n int) { open.Store(int64(n)) }
		})
		rec := w.connect(userID)
		other := w.connect("bob@example.com")
		leave(t, w.secrets, rec.ID, "refresh", secret.Text{}, 0)
		leave(t, w.secrets, other.ID, "exchange", secret.New("a-code-000000000000"), 0)
		start := time.Now()
		ended := make(chan error)
		go func() { ended <- w.Sweep(t.Context()) }()
		time.Sleep(5 * time.Second)
		if n := w.sandbox.Stats().Refreshes; n != 0 {
			t.Errorf("%d uses beside a call that may be under way", n)
		}
		if n := open.Load(); n != 2 {
			t.Errorf("%d calls are said to be open, want 2", n)
		}
		time.Sleep(25 * time.Second)
		if n := w.sandbox.Stats().Refreshes; n != 1 {
			t.Errorf("%d uses after half a minute, want 1", n)
		}
		if n := open.Load(); n != 1 {
			t.Errorf("%d calls are said to be open, want the code's", n)
		}
		// The code's mark is given its callback's time.
		w.must(<-ended)
		if d := time.Since(start); d < time.Hour || d > time.Hour+time.Minute {
			t.Errorf("the sweep took %s, want the code's hour", d)
		}
		if n := open.Load(); n != 0 {
			t.Errorf("%d calls are said to be open after the sweep", n)
		}
	})
}

// Vault is away in the middle of a sweep: it rests instead of asking for every
// connection in vain, and goes on.
func TestSweepRestsInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, finxtest.Options{}, func(w *world) { w.timersOnly = true; w.cfg.Background.SweepRate = 1 })
		var ids []string
		for i := range 60 {
			ids = append(ids, w.connect(hex.EncodeToString([]byte{byte(i)})+"@example.com").ID)
			leave(t, w.secrets, ids[i], "refresh", secret.Text{}, time.Hour)
		}
		ended := make(chan error)
		go func() { ended <- w.Sweep(t.Context()) }()
		time.Sleep(20 * time.Second)
		w.sealed.Store(true)
		time.Sleep(30 * time.Minute)
		if n := w.reads.Load(); n > 150 {
			t.Errorf("%d reads in half an hour of outage", n)
		}
		w.sealed.Store(false)
		w.must(<-ended)
		for _, id := range ids {
			if tokens, _, err := w.secrets.Get(t.Context(), id); err != nil || tokens.Pending != nil {
				t.Errorf("connection %s: error %v, mark %+v", id, err, tokens.Pending)
			}
		}
		if n := w.sandbox.Stats().Refreshes; n != 60 {
			t.Errorf("%d uses, want 60", n)
		}
	})
}

// A sweep that is interrupted goes on where it stopped, and one replica at a
// time sweeps.
func TestSweepGoesOnWhereItStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, finxtest.Options{}, func(w *world) { w.timersOnly = true; w.cfg.Background.SweepRate = 1 })
		for i := range 100 {
			sum := sha256.Sum256([]byte{byte(i)})
			_, err := w.secrets.Put(t.Context(), events.UUIDv5(hex.EncodeToString(sum[:])), vaultstore.Record{RefreshToken: secret.New("r")}, 0)
			w.must(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		if err := w.Sweep(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		start := time.Now()
		w.must(w.Sweep(t.Context()))
		if d := time.Since(start); d < 39*time.Second || d > 43*time.Second {
			t.Errorf("the second sweep took %s, want the 40 s that were left", d)
		}
		_, release, err := w.cfg.Lock(t.Context(), "sweep")
		w.must(err)
		defer release()
		start = time.Now()
		if w.must(w.Sweep(t.Context())); time.Since(start) != 0 {
			t.Error("two replicas sweep at the same time")
		}
	})
}

// What a sweep that is cut off had put off is looked at by the next one, and counts as
// open no longer once another replica sweeps.
func TestSweepComesBackToWhatItPutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var open atomic.Int64
		w := newWorld(t, finxtest.Options{}, func(w *world) {
			w.timersOnly = true
			w.cfg.Background.OpenMarks = func(n int) { open.Store(int64(n)) }
		})
		var ids []string
		for i := range 5 {
			ids = append(ids, w.connect(hex.EncodeToString([]byte{byte(i)})+"@example.com").ID)
		}
		first := slices.Min(ids)
		leave(t, w.secrets, first, "refresh", secret.Text{}, 0)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := w.Sweep(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if n := open.Load(); n != 1 {
			t.Errorf("%d calls are said to be open, want 1", n)
		}
		_, release, err := w.cfg.Lock(t.Context(), "sweep")
		w.must(err)
		w.must(w.Sweep(t.Context()))
		if n := open.Load(); n != 0 {
			t.Errorf("%d calls are said to be open by who does not sweep", n)
		}
		release()
		w.must(w.Sweep(t.Context()))
		if tokens, _, err := w.secrets.Get(t.Context(), first); err != nil || tokens.Pending != nil {
			t.Errorf("error %v, mark %+v", err, tokens.Pending)
		}
	})
}
