package upgrade_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/app"
	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/streamread"
	"github.com/finx-connector/finx-connector/settings"
	"github.com/finx-connector/finx-connector/streams"
)

// settings are today's, read from the environment as the program does.
func (w *world) settings() settings.Settings {
	w.Helper()
	s, err := settings.Load("", func(name string) string { return w.env[name] }, nil, settings.Need{FinX: true, Vault: true})
	w.must(err)
	return s
}

// restore puts everything where the release had it: streams and buckets as today's
// `streams apply` makes them, messages at their old sequences, secrets, the spool.
// What cannot be put back is the time at which the broker stored a message.
func (w *world) restore(f *fixture) {
	w.Helper()
	w.must(w.sandbox.Restore(f.sandbox))
	topology := app.Topology(w.settings())
	changes, err := topology.Diff(w.ctx(), w.js)
	w.must(err)
	w.must(topology.Apply(w.ctx(), w.js, changes))
	for _, e := range f.kv {
		w.put(e)
	}
	for _, stream := range []string{events.StreamRequests, events.StreamCallbacks, events.StreamEvents, events.StreamDLQ, events.StreamTimers} {
		w.refill(stream, f.messages)
	}
	for _, s := range f.secrets {
		w.keep(s.ID, s.Data)
	}
	for _, file := range f.spool {
		w.must(os.WriteFile(filepath.Join(w.spool, file.Name), file.Data, 0o600))
	}
	for durable, stream := range map[string]string{
		streams.DurableConnects: events.StreamRequests, streams.DurableSyncs: events.StreamRequests, streams.DurableErasures: events.StreamRequests,
		streams.DurableCallbacks: events.StreamCallbacks,
	} {
		w.settle(stream, durable, f.Pending)
	}
}

// put writes a key. What was there for a while only is there for a moment more.
func (w *world) put(e kvEntry) {
	w.Helper()
	var opts []jetstream.PublishOpt
	if e.Bucket == connectionkv.BucketLeases || strings.HasPrefix(e.Key, "replica.") {
		opts = append(opts, jetstream.WithMsgTTL(2*time.Second))
	}
	_, err := w.js.PublishMsg(w.ctx(), &nats.Msg{Subject: "$KV." + e.Bucket + "." + e.Key, Data: e.Value}, opts...)
	w.must(err)
}

// keep writes a secret as its first version.
func (w *world) keep(id string, data json.RawMessage) {
	w.Helper()
	var secret map[string]any
	w.must(json.Unmarshal(data, &secret))
	// The callback of an open exchange is as young as its message is here. So is its
	// mark, or the sweep may find it first and take the code for dead, as it would be.
	if mark, open := secret["pending"].(map[string]any); open && mark["kind"] == "exchange" {
		mark["started_at"] = time.Now().Add(-10 * time.Minute).UTC()
	}
	status, answer, err := w.vault.Try(w.ctx(), w.vault.Token, http.MethodPut, w.mount+"/data/finx/connections/"+id, map[string]any{"data": secret})
	w.must(err)
	if status != http.StatusOK {
		w.Fatalf("status %d: %v", status, answer)
	}
}

// refill publishes the messages of a stream. Timers fire in a moment, whenever they
// were set to; of what was due already nothing is left to do.
func (w *world) refill(name string, all []message) {
	w.Helper()
	s, err := w.js.Stream(w.ctx(), name)
	w.must(err)
	var next uint64 = 1
	for _, m := range all {
		if m.Stream != name || strings.HasPrefix(m.Subject, events.SubjectDue+".") {
			continue
		}
		for ; next < m.Sequence && name != events.StreamTimers; next++ { // was deleted
			ack := w.publish(m.Subject, nil, []byte("{}"))
			w.must(s.DeleteMsg(w.ctx(), ack.Sequence))
		}
		header := nats.Header(maps.Clone(m.Header))
		if header.Get(jetstream.ScheduleHeader) != "" {
			header.Set(jetstream.ScheduleHeader, "@at "+time.Now().Add(2*time.Second).UTC().Format(time.RFC3339))
			m.Data = w.asStored(m.Data)
		}
		ack := w.publish(m.Subject, header, m.Data)
		if name != events.StreamTimers && ack.Sequence != m.Sequence {
			w.Fatalf("%s: sequence %d, was %d (duplicate: %v)", name, ack.Sequence, m.Sequence, ack.Duplicate)
		}
		next++
	}
}

// asStored gives a parked reference the time at which its message is stored here, by
// which the connector tells the message from another at the same place, and has its
// patience begin now: it is not over because the fixture is old.
func (w *world) asStored(data []byte) []byte {
	w.Helper()
	var ref struct {
		Stream       string `json:"stream"`
		Sequence     uint64 `json:"sequence"`
		StoredAt     string `json:"stored_at"`
		FirstFailure string `json:"first_failure"`
		ParkedAt     string `json:"parked_at"`
	}
	if json.Unmarshal(data, &ref) != nil || ref.StoredAt == "" {
		return data
	}
	m, err := streamread.At(w.ctx(), w.js, ref.Stream, ref.Sequence)
	w.must(err)
	now := time.Now().UTC().Format(time.RFC3339Nano)
	for was, is := range map[string]string{ref.StoredAt: m.Time.UTC().Format(time.RFC3339Nano), ref.FirstFailure: now, ref.ParkedAt: now} {
		if was != "" {
			data = bytes.ReplaceAll(data, []byte(was), []byte(is))
		}
	}
	return data
}

// settle acknowledges what the release had done.
func (w *world) settle(stream, durable string, pending []string) {
	w.Helper()
	c, err := w.js.Consumer(w.ctx(), stream, durable)
	w.must(err)
	left := int(c.CachedInfo().NumPending)
	batch, err := c.FetchNoWait(left + 1)
	w.must(err)
	for m := range batch.Messages() {
		meta, err := m.Metadata()
		w.must(err)
		in := events.Message{Subject: m.Subject(), Header: m.Headers(), Data: m.Data(), Stream: stream, Sequence: meta.Sequence.Stream, Time: meta.Timestamp}
		env, _ := events.Codec{}.Parse(in) // what cannot be read was given up
		if slices.Contains(pending, env.ID) {
			w.must(m.NakWithDelay(time.Second))
			continue
		}
		w.must(m.DoubleAck(w.ctx()))
	}
	w.must(batch.Error())
}

// serve runs today's connector inside the test until it ends, or stop is called.
func (w *world) serve(extra map[string]string) (stop func()) {
	w.Helper()
	maps.Copy(w.env, extra)
	s := w.settings()
	s.Process.ListenAddr = "127.0.0.1:0"
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.Context()))
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- app.Run(ctx, app.Options{
			Settings: s, Version: "upgrade", OnReady: func(addr string) { ready <- addr },
			Logger: slog.New(slog.NewTextHandler(w.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
		})
	}()
	done := false
	stop = func() {
		if done {
			return
		}
		done = true
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			w.Errorf("the connector ended with: %v", err)
		}
	}
	w.Cleanup(stop)
	var addr string
	select {
	case addr = <-ready:
	case err := <-ended:
		w.Fatalf("the connector did not start: %v", err)
	}
	w.eventually("the connector is ready", func() bool {
		resp, err := http.Get("http://" + addr + "/readyz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return stop
}
