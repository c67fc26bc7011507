package e2e_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
)

// TestTokensOfEveryLengthAreKeptInVault compares what Vault holds with what finX
// answered, after the exchange and after a refresh.
func TestTokensOfEveryLengthAreKeptInVault(t *testing.T) {
	for _, size := range []int{finxtest.MinTokenBytes, 2 << 10, finxtest.MaxTokenBytes} {
		t.Run(fmt.Sprintf("%d bytes", size), func(t *testing.T) {
			r := newRig(t, options{sandbox: finxtest.Options{
				CodeBytes: size, AccessTokenBytes: size, RefreshTokenBytes: size,
				Shape: finxtest.Shape{Accounts: 1, Transactions: 5},
			}})
			r.start()
			link := r.connect("tokens@example.com")
			back := r.approve(link.Location)
			if n := len(back.Query().Get("code")); n != size {
				t.Fatalf("a code of %d bytes", n)
			}
			r.callback(back)
			r.completed(link.ConnectionID, 1)
			r.checkKept(link.ConnectionID, size, 1)

			r.sandbox.Advance(2 * time.Hour) // the access token is dead, whatever the record says
			r.send(events.TypeSyncRequested, map[string]any{"connection_id": link.ConnectionID})
			r.completed(link.ConnectionID, 2)
			r.checkKept(link.ConnectionID, size, 2)
			if s := r.sandbox.Stats(); s.Rotations != 1 || s.RefreshesReused != 0 {
				t.Errorf("%d rotations, %d reuses, want one and none", s.Rotations, s.RefreshesReused)
			}
		})
	}
}

// checkKept holds the secret against the newest answer of the token endpoint.
func (r *rig) checkKept(connectionID string, size, answers int) {
	r.t.Helper()
	calls := r.bank.answered("POST", "/auth/token")
	if len(calls) != answers {
		r.t.Fatalf("%d token calls, want %d", len(calls), answers)
	}
	var issued map[string]any
	if err := json.Unmarshal(calls[answers-1].Answer, &issued); err != nil {
		r.t.Fatal(err)
	}
	kept := r.kept(connectionID)
	for _, name := range []string{"access_token", "refresh_token", "token_type", "scope"} {
		if kept[name] != issued[name] || kept[name] == "" {
			r.t.Errorf("%s in Vault is not the one finX issued", name)
		}
	}
	if token, _ := kept["refresh_token"].(string); len(token) != size {
		r.t.Errorf("a refresh token of %d bytes, want %d", len(token), size)
	}
	if kept["pending"] != nil {
		r.t.Error("the journal is open")
	}
}
