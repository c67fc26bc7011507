package e2e_test

import (
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// TestIdleConnectionIsKeptAlive runs a connection that nobody fetches past the
// life of its refresh token, on the broker's own schedules. Seconds stand for
// weeks.
func TestIdleConnectionIsKeptAlive(t *testing.T) {
	t.Parallel()
	const life = 14 * time.Second
	r := newRig(t, options{
		sandbox: finxtest.Options{RefreshLifetime: life, RevokeOnReuse: true},
		env: map[string]string{
			"FINX_REFRESH_LIFETIME": "14s", "FINX_KEEPALIVE_LEAD": "8s", "FINX_EXPIRING_NOTICE": "2s", "SYNC_INTERVAL": "1h",
		},
	})
	r.start()
	link, _ := r.establish("idle@example.com")
	began := time.Now()
	natstest.Eventually(t, 3*life+within, func() bool {
		return r.sandbox.Stats().Rotations >= 3 && time.Since(began) > life
	}, "three rotations of an idle connection")
	id := r.send(events.TypeSyncRequested, map[string]any{"connection_id": link.ConnectionID})
	r.event("a fetch after the first token's end", func(e event) bool {
		return e.Type == events.TypeFetchCompleted && e.Trigger == events.TriggerRequest && e.CausationID == id
	})
	if s := r.sandbox.Stats(); s.RefreshesReused != 0 || s.FamiliesRevoked != 0 {
		t.Errorf("%d reuses, %d revocations", s.RefreshesReused, s.FamiliesRevoked)
	}
	for _, typ := range []string{events.TypeConnectionExpiring, events.TypeReauthorizationRequired} {
		if n := len(r.seen.of(typ, link.ConnectionID)); n != 0 {
			t.Errorf("a connection that is kept alive was announced as %s", typ)
		}
	}
}
