package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/internal/natstest"
)

// streamBackup is what `nats stream backup` writes: the configuration and state
// of a stream and the archive of its store, consumers included.
type streamBackup struct {
	Config  json.RawMessage `json:"config"`
	State   json.RawMessage `json:"state"`
	archive []byte
}

// snapshotChunk is far below any max_payload.
const snapshotChunk = 64 << 10

// backup takes a snapshot of every stream and bucket, by the API that the tools
// use, from a broker that goes on working.
func backup(t testing.TB, nc *nats.Conn) map[string]streamBackup {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	all := map[string]streamBackup{}
	names := js.StreamNames(ctx)
	for name := range names.Name() {
		all[name] = snapshot(ctx, t, nc, name)
	}
	if names.Err() != nil || len(all) == 0 {
		t.Fatalf("%d streams, %v", len(all), names.Err())
	}
	return all
}

func snapshot(ctx context.Context, t testing.TB, nc *nats.Conn, name string) streamBackup {
	t.Helper()
	inbox := nc.NewInbox()
	chunks, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = chunks.Unsubscribe() }()
	var b streamBackup
	askJetStream(ctx, t, nc, "$JS.API.STREAM.SNAPSHOT."+name, map[string]any{"deliver_subject": inbox, "chunk_size": snapshotChunk}, &b)
	for {
		m, err := chunks.NextMsgWithContext(ctx)
		if err != nil {
			t.Fatalf("snapshot of %s: %v", name, err)
		}
		if len(m.Data) == 0 {
			if status := m.Header.Get("Status"); status != "" && !strings.HasPrefix(status, "2") {
				t.Fatalf("snapshot of %s: %s %s", name, status, m.Header.Get("Description"))
			}
			return b
		}
		b.archive = append(b.archive, m.Data...)
		if m.Reply == "" {
			continue // the server asks now and then whether we keep up
		}
		if err := m.Respond(nil); err != nil {
			t.Fatal(err)
		}
	}
}

// restore brings every stream back onto a broker that has none of them.
func restore(t testing.TB, nc *nats.Conn, all map[string]streamBackup) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for name, b := range all {
		var to struct {
			Subject string `json:"deliver_subject"`
		}
		askJetStream(ctx, t, nc, "$JS.API.STREAM.RESTORE."+name, b, &to)
		for rest := b.archive; len(rest) > 0; {
			n := min(len(rest), snapshotChunk)
			reply, err := nc.RequestWithContext(ctx, to.Subject, rest[:n])
			if err != nil || len(reply.Data) > 0 && strings.Contains(string(reply.Data), "error") {
				t.Fatalf("restoring %s: %v", name, err)
			}
			rest = rest[n:]
		}
		askJetStream(ctx, t, nc, to.Subject, nil, &struct{}{})
	}
}

// askJetStream makes a request of the JetStream API.
func askJetStream(ctx context.Context, t testing.TB, nc *nats.Conn, subject string, request, answer any) {
	t.Helper()
	var body []byte
	if request != nil {
		body = encode(t, request)
	}
	reply, err := nc.RequestWithContext(ctx, subject, body)
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	var refused struct{ Error *nats.APIError }
	if err := errors.Join(json.Unmarshal(reply.Data, &refused), json.Unmarshal(reply.Data, answer)); err != nil || refused.Error != nil {
		t.Fatalf("%s: %v, %v", subject, refused.Error, err)
	}
}

// elsewhere is the installation with another broker; see watch.
func (r *rig) elsewhere(broker *natstest.Server) *rig {
	r.t.Helper()
	c := *r
	c.env = maps.Clone(r.env)
	c.env["NATS_URL"] = broker.URL()
	c.nc = natstest.Connect(r.t, broker.URL())
	var err error
	if c.js, err = jetstream.New(c.nc); err != nil {
		r.t.Fatal(err)
	}
	return &c
}

// watch begins to observe, from what the broker holds already.
func (r *rig) watch() { r.seen = newObserver(r.t, r.js, r.codec, false) }

// quiet waits until finX has not been asked for tokens for a while, and returns
// how often it was asked altogether.
func (r *rig) quiet(pause time.Duration) int {
	r.t.Helper()
	last, since := -1, time.Now()
	natstest.Eventually(r.t, within, func() bool {
		if n := len(r.bank.answered("POST", "/auth/token")); n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) > pause
	}, "no more token calls")
	return last
}
