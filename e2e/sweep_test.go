package e2e_test

import (
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// TestTheSweepEndsWhatNobodyAsksFor: two calls were cut off and no message that
// could bring them back is left. One token was never sent, the other was.
func TestTheSweepEndsWhatNobodyAsksFor(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{sandbox: finxtest.Options{RevokeOnReuse: true}, env: map[string]string{"SYNC_INTERVAL": "1h"}})
	stop := r.start()
	unsent, _ := r.establish("unsent@example.com")
	lost, _ := r.establish("lost@example.com")
	stop()
	rotation := r.kept(unsent.ConnectionID)["rotation"]
	r.cut(unsent.ConnectionID)
	token := r.cut(lost.ConnectionID)
	client, err := finx.New(finx.Config{BaseURL: r.base, ClientID: clientID, ClientSecret: secret.New(clientSecret)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdle)
	if _, err := client.Refresh(t.Context(), token); err != nil { // the call whose answer died with its process
		t.Fatal(err)
	}
	r.start()
	natstest.Eventually(t, within, func() bool {
		now := r.kept(unsent.ConnectionID)
		return now["pending"] == nil && now["rotation"] != rotation
	}, "the token that was never sent is rotated")
	told := r.event("the lost one is told", func(e event) bool {
		return e.Type == events.TypeReauthorizationRequired && e.ConnectionID == lost.ConnectionID
	})
	if told.Reason != events.ReasonRotationOutcomeUnknown || told.Location == "" {
		t.Errorf("told %s, link %q", told.Reason, told.Location)
	}
	if n := len(r.seen.of(events.TypeReauthorizationRequired, unsent.ConnectionID)); n != 0 {
		t.Error("the connection that could be saved was given up")
	}
}

// cut leaves the mark of a call that its process did not live to end, and
// returns the token it was about.
func (r *rig) cut(connectionID string) secret.Text {
	r.t.Helper()
	kept := r.kept(connectionID)
	token, ok := kept["refresh_token"].(string)
	if !ok {
		r.t.Fatal("no refresh token")
	}
	kept["pending"] = map[string]any{
		"kind": "refresh", "holder": "a process that died", "attempt": 1,
		"started_at": time.Now().Add(-time.Hour).UTC().Format(time.RFC3339Nano), "sha256": secret.New(token).SHA256(),
	}
	r.vault.Call(r.t, "POST", r.mount+"/data/finx/connections/"+connectionID, map[string]any{"data": kept})
	return secret.New(token)
}
