package e2e_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
)

// TestErasureByHand does what docs/operating.md tells an operator to do, step by
// step, and then looks everywhere for what was to go: in every message and key of
// the broker and in Vault. Another user's data stay, and the connector works on.
func TestErasureByHand(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{sandbox: finxtest.Options{Shape: finxtest.Shape{Accounts: 1, Transactions: 5}}, env: map[string]string{"SYNC_INTERVAL": "1h"}})
	stop := r.start()
	const user, other = "erase-me@example.com", "erase-me@example.com.au" // one is the beginning of the other
	gone, _ := r.establish(user)
	stays, _ := r.establish(other)
	r.send(events.TypeSyncRequested, map[string]any{"connection_id": gone.ConnectionID})
	r.completed(gone.ConnectionID, 2)
	records, err := connectionkv.New(connectionkv.Config{JS: r.js})
	if err != nil {
		t.Fatal(err)
	}
	rec, _, err := records.Get(t.Context(), gone.ConnectionID)
	if err != nil {
		t.Fatal(err)
	}
	texts := written(rec)
	kept := r.traces(written(connection.Record{ID: stays.ConnectionID, UserID: other})...)
	if found := r.traces(texts...); len(found) < 6 {
		t.Fatalf("before, they are only in %v", found)
	}

	r.eraseByHand(rec)
	if found := r.traces(texts...); len(found) != 0 {
		t.Errorf("still there: %v", found)
	}
	if found := r.traces(written(connection.Record{ID: stays.ConnectionID, UserID: other})...); !slices.Equal(found, kept) {
		t.Errorf("of the other user there was %v, and is %v", kept, found)
	}
	if status, _, err := r.vault.Try(t.Context(), r.vault.Token, http.MethodGet, r.mount+"/metadata/finx/connections/"+gone.ConnectionID, nil); err != nil || status != http.StatusNotFound {
		t.Errorf("Vault answers %d, %v", status, err)
	}
	// A sync that was on its way finds nothing, and asks finX nothing.
	calls := r.quiet(0)
	stream, sequence := r.publish(events.TypeSyncRequested, encode(t, map[string]any{"connection_id": gone.ConnectionID}), events.HeaderMsgID, events.NewUUID())
	r.letter(stream, sequence)
	r.send(events.TypeSyncRequested, map[string]any{"connection_id": stays.ConnectionID})
	r.completed(stays.ConnectionID, 2)
	if n := r.quiet(time.Second); n != calls {
		t.Errorf("%d token calls", n-calls)
	}
	stop()
}

// eraseByHand is the list of docs/operating.md, in its order.
func (r *rig) eraseByHand(rec connection.Record) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), within)
	defer cancel()
	// 1. The timers and what came due.
	r.purge(ctx, events.StreamTimers, "finx.timer.*."+rec.ID)
	r.purge(ctx, events.StreamTimers, "finx.due.*."+rec.ID)
	// 2. The secret, with all its versions.
	r.vault.Call(r.t, http.MethodDelete, r.mount+"/metadata/finx/connections/"+rec.ID, nil)
	// 3. The keys: record, state bindings, sealed answers.
	r.purgeKey(ctx, "finx_connections", "connection."+rec.ID)
	for _, state := range []string{rec.OAuthState, rec.RenewalState} {
		if state != "" {
			sum := sha256.Sum256([]byte(state))
			r.purgeKey(ctx, "finx_connections", "state."+hex.EncodeToString(sum[:]))
		}
	}
	r.purge(ctx, "KV_finx_escrow", "$KV.finx_escrow."+rec.ID+".*")
	// 4. The messages: every one that names the connection, its user or its state.
	for _, name := range []string{events.StreamRequests, events.StreamCallbacks, events.StreamEvents, events.StreamDLQ} {
		s, err := r.js.Stream(ctx, name)
		if err != nil {
			r.t.Fatal(err)
		}
		r.eachMessage(ctx, name, func(m *jetstream.RawStreamMsg) {
			if !names(m, written(rec)...) {
				return
			}
			if err := s.SecureDeleteMsg(ctx, m.Sequence); err != nil {
				r.t.Errorf("%s %d: %v", name, m.Sequence, err)
			}
		})
	}
}

// written is how a person stands in messages: whole values, as one may be part of
// another's.
func written(rec connection.Record) []string {
	texts := []string{rec.ID, `"` + rec.UserID + `"`}
	for _, state := range []string{rec.OAuthState, rec.RenewalState} {
		if state != "" {
			texts = append(texts, `"`+state+`"`, "state="+state+"&", "state="+state+`"`)
		}
	}
	return texts
}

func (r *rig) purge(ctx context.Context, stream, subject string) {
	r.t.Helper()
	s, err := r.js.Stream(ctx, stream)
	if err == nil {
		err = s.Purge(ctx, jetstream.WithPurgeSubject(subject))
	}
	if err != nil {
		r.t.Fatalf("purging %s of %s: %v", subject, stream, err)
	}
}

func (r *rig) purgeKey(ctx context.Context, bucket, key string) {
	r.t.Helper()
	kv, err := r.js.KeyValue(ctx, bucket)
	if err == nil {
		err = kv.Purge(ctx, key)
	}
	if err != nil {
		r.t.Fatalf("purging %s of %s: %v", key, bucket, err)
	}
}

func (r *rig) eachMessage(ctx context.Context, stream string, visit func(*jetstream.RawStreamMsg)) {
	r.t.Helper()
	s, err := r.js.Stream(ctx, stream)
	if err != nil {
		r.t.Fatal(err)
	}
	for seq := s.CachedInfo().State.FirstSeq; seq > 0 && seq <= s.CachedInfo().State.LastSeq; seq++ {
		if m, err := s.GetMsg(ctx, seq); err == nil { // others went earlier
			visit(m)
		}
	}
}

// names reports whether a message holds one of these texts, in body, subject or
// headers.
func names(m *jetstream.RawStreamMsg, texts ...string) bool {
	return slices.ContainsFunc(texts, func(text string) bool {
		if text == "" {
			return false
		}
		for _, values := range m.Header {
			if slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, text) }) {
				return true
			}
		}
		return strings.Contains(m.Subject, text) || bytes.Contains(m.Data, []byte(text))
	})
}

// traces returns where the broker holds one of these texts, delete markers of keys
// aside, whose subject names a connection and nobody.
func (r *rig) traces(texts ...string) []string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), within)
	defer cancel()
	found := map[string]bool{}
	list := r.js.StreamNames(ctx)
	for stream := range list.Name() {
		r.eachMessage(ctx, stream, func(m *jetstream.RawStreamMsg) {
			if names(m, texts...) && m.Header.Get("KV-Operation") == "" && m.Header.Get("Nats-Marker-Reason") == "" {
				found[stream+" "+m.Subject] = true
			}
		})
	}
	if list.Err() != nil {
		r.t.Fatal(list.Err())
	}
	var all []string
	for where := range found {
		all = append(all, where)
	}
	slices.Sort(all)
	return all
}
