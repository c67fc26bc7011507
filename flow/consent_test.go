package flow_test

import (
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// The consent is as old as the callback that told of it, not as its handling; a
// renewal makes it new, with a code or without one.
func TestTheConsentIsAsOldAsItsCallback(t *testing.T) {
	for name, without := range map[string]bool{"renewed with a code": false, "renewed without": true} {
		t.Run(name, func(t *testing.T) {
			l := &renewal{rig: newRig(t, finxtest.Options{SyncWithoutCode: without})}
			rec, link := l.connect("connect-1", "state-1")
			if !rec.Consented().IsZero() {
				t.Errorf("a consent before there was a callback: %s", rec.Consented())
			}
			e := event("callback-1")
			e.Time = time.Now().Add(-20 * time.Minute).UTC()
			l.must(l.CallbackReceived(t.Context(), e, l.approve(link)))
			rec = l.record(rec.ID)
			if !rec.Consented().Equal(e.Time) || rec.EstablishedAt.Before(e.Time.Add(time.Minute)) {
				t.Errorf("consented %s, established %s, the callback is of %s", rec.Consented(), rec.EstablishedAt, e.Time)
			}
			rec, err := rec.RequireReauthorization(time.Now().UTC(), "consent_expired", "")
			l.must(err)
			rec.RenewalState = "state-2"
			_, rev, err := l.records.Get(t.Context(), rec.ID)
			l.must(err)
			_, err = l.records.Update(t.Context(), rec, rev)
			l.must(err)
			l.must(l.records.BindState(t.Context(), "state-2", rec.ID))
			_, another := l.connect("connect-2", "state-3") // for a code of its own
			callback := l.approve(another)
			callback.State = "state-2"
			if without {
				callback.Code = secret.Text{}
			}
			e = event("callback-2")
			e.Time = time.Now().Add(time.Hour).UTC() // a clock ahead of ours
			l.must(l.CallbackReceived(t.Context(), e, callback))
			if again := l.record(rec.ID); !again.Consented().After(rec.Consented()) || again.Consented().After(time.Now()) {
				t.Errorf("consented %s after the renewal, %s before", again.Consented(), rec.Consented())
			}
		})
	}
}
