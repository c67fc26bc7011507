package e2e_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/internal/vaulttest"
)

// raftSnapshot is what `vault operator raft snapshot save` writes.
func raftSnapshot(t testing.TB, v *vaulttest.Server) []byte {
	t.Helper()
	status, body := raft(t, v, http.MethodGet, "snapshot", nil)
	if status != http.StatusOK || len(body) == 0 {
		t.Fatalf("taking a snapshot: status %d: %.200s", status, body)
	}
	return body
}

// raftRestore is `vault operator raft snapshot restore -force`.
func raftRestore(t testing.TB, v *vaulttest.Server, snapshot []byte) {
	t.Helper()
	if status, body := raft(t, v, http.MethodPost, "snapshot-force", snapshot); status/100 != 2 {
		t.Fatalf("restoring a snapshot: status %d: %.200s", status, body)
	}
	natstest.Eventually(t, within, func() bool {
		status, _, err := v.Try(t.Context(), v.Token, http.MethodGet, "sys/mounts", nil)
		return err == nil && status == http.StatusOK
	}, "Vault works on the restored data")
}

func raft(t testing.TB, v *vaulttest.Server, method, what string, body []byte) (status int, answer []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, v.Addr+"/v1/sys/storage/raft/"+what, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", v.Token)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: within}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if answer, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, answer
}

// TestAVaultThatWasRestoredOlderThanTheBroker: what was rotated since the snapshot
// is lost, and finX takes the use of a dead token for theft. Each of those users is
// asked back once; whoever was not rotated notices nothing; nothing goes round.
func TestAVaultThatWasRestoredOlderThanTheBroker(t *testing.T) {
	t.Parallel()
	v := vaulttest.StartOwn(t, "raft")
	r := newRig(t, options{
		vault:   v,
		sandbox: finxtest.Options{RevokeOnReuse: true, Shape: finxtest.Shape{Accounts: 1, Transactions: 5}},
		env:     map[string]string{"SYNC_INTERVAL": "12h"},
	})
	stop := r.start()
	rotated, _ := r.establish("rotated@example.com")
	still, _ := r.establish("still@example.com")
	snapshot := raftSnapshot(t, v)
	late, _ := r.establish("late@example.com")
	r.sandbox.Advance(2 * time.Hour)
	r.send(events.TypeSyncRequested, map[string]any{"connection_id": rotated.ConnectionID})
	r.completed(rotated.ConnectionID, 2)
	stop()

	newest := r.kept(rotated.ConnectionID)["rotation"]
	raftRestore(t, v, snapshot)
	if n := r.kept(rotated.ConnectionID)["rotation"]; n == newest {
		t.Fatalf("Vault still holds rotation %v: nothing was restored", n)
	}
	r.start()
	ids := map[string]string{rotated.ConnectionID: events.ReasonRefreshRejected, late.ConnectionID: events.ReasonAccessRevoked}
	for range 3 { // whatever asks: the first finds out, the others find it told
		for id := range ids {
			stream, sequence := r.publish(events.TypeSyncRequested, encode(t, map[string]any{"connection_id": id}), events.HeaderMsgID, events.NewUUID())
			r.settledBy(stream, sequence)
		}
	}
	for id, reason := range ids {
		told := r.event("the user is asked back", func(e event) bool { return e.Type == events.TypeReauthorizationRequired && e.ConnectionID == id })
		if told.Reason != reason || told.Location == "" {
			t.Errorf("told %s, want %s, with link %q", told.Reason, reason, told.Location)
		}
	}
	r.send(events.TypeSyncRequested, map[string]any{"connection_id": still.ConnectionID})
	r.completed(still.ConnectionID, 2)

	calls := r.quiet(3 * time.Second)
	for id := range ids {
		if n := len(r.seen.of(events.TypeReauthorizationRequired, id)); n != 1 {
			t.Errorf("%d times told", n)
		}
	}
	if s := r.sandbox.Stats(); s.RefreshesReused != 1 || s.CodesReused != 0 {
		t.Errorf("%d dead tokens and %d codes were sent, want one and none", s.RefreshesReused, s.CodesReused)
	}
	// The way back: the link in the event, and all is as it was.
	told := r.seen.of(events.TypeReauthorizationRequired, rotated.ConnectionID)[0]
	r.callback(r.approve(told.Location))
	r.completed(rotated.ConnectionID, 3)
	if n := r.quiet(time.Second); n != calls+1 {
		t.Errorf("%d token calls for a renewal, want one", n-calls)
	}
}

// settledBy waits until a request has been handled to its end.
func (r *rig) settledBy(stream string, sequence uint64) {
	r.t.Helper()
	natstest.Eventually(r.t, within, func() bool {
		c, err := r.js.Consumer(r.t.Context(), stream, "finx-syncs")
		return err == nil && c.CachedInfo().AckFloor.Stream >= sequence
	}, "the request is settled")
}
