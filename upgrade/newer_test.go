package upgrade_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/streamread"
	"github.com/finx-connector/finx-connector/streams"
)

// bumped is a record as a later release might write it: of a higher version, and with
// what is known to have another meaning.
func bumped(t *testing.T, value []byte) []byte {
	t.Helper()
	head, rest, sealed := bytes.Cut(value, []byte{'\n'})
	out := bytes.Replace(head, []byte(`"v":1`), []byte(`"v":2`), 1)
	if bytes.Equal(out, head) {
		t.Fatalf("a record without a version: %.80s", value)
	}
	if sealed {
		out = append(append(out, '\n'), rest...)
	}
	return out
}

// TestNewerRecordsAreLeftAlone raises the version of one record of every kind that is
// worked from. What needs them waits, without becoming a dead letter, and they stay as
// they are, to the byte.
func TestNewerRecordsAreLeftAlone(t *testing.T) {
	releases := releases(t)
	f := load(t, releases[len(releases)-1])
	w := newWorld(t)
	want, parked := f.raise(t)
	w.restore(f)
	letters := len(w.stored(events.StreamDLQ))
	secret := w.secret(f.id(t, "rotating"))
	stop := w.serve(map[string]string{"FINX_REFRESH_SKEW": "1h"})

	w.emit(events.TypeSyncRequested, "sync-today", events.SyncRequested{ConnectionID: f.id(t, "established")})
	ack := w.publish(events.TypeCallbackReceived, nil, []byte(`{"state":"state-link_created","success":true,"code":"fixture-code"}`))
	w.allWait([]string{"sync-today", "sync-rotating", "sync-escrowed", "sync-spooled"}, ack.Sequence)
	w.eventually("the parked event comes round, or is parked once more", func() bool {
		c, err := w.js.Consumer(w.ctx(), events.StreamTimers, streams.DurableDue)
		w.must(err)
		again := slices.ContainsFunc(w.stored(events.StreamTimers), func(m message) bool {
			return strings.HasPrefix(m.Subject, events.SubjectTimerPark+"."+events.StreamTimers+".")
		})
		return again || c.CachedInfo().NumRedelivered > 0
	})
	if _, err := streamread.Last(w.ctx(), w.js, events.StreamTimers, parked); err != nil {
		t.Errorf("what was parked is gone: %v", err)
	}
	stop()

	for at, value := range want {
		bucket, key, _ := strings.Cut(at, "/")
		if got := w.value(bucket, key); !bytes.Equal(got, value) {
			t.Errorf("%s was touched: %.200s", at, got)
		}
	}
	if now := w.secret(f.id(t, "rotating")); !jsonEqual(t, now, secret) {
		t.Error("the secret was touched")
	}
	for _, s := range f.spool {
		if got, err := os.ReadFile(filepath.Join(w.spool, s.Name)); err != nil || !bytes.Equal(got, s.Data) {
			t.Errorf("the spool was touched: %v", err)
		}
	}
	if now := len(w.stored(events.StreamDLQ)); now != letters {
		t.Errorf("%d dead letters, were %d", now, letters)
	}
	if s := w.sandbox.Stats(); s.RefreshesReused+s.Refreshes+s.CodesExchanged > s.Rotations+s.CodesExchanged || s.RefreshesReused != 0 {
		t.Errorf("%+v", s)
	}
}

// raise gives one record of each kind a higher version. It returns the keys that have
// one now, with their values, and where the parked event comes due.
func (f *fixture) raise(t *testing.T) (want map[string][]byte, parked string) {
	t.Helper()
	want = map[string][]byte{}
	for i, e := range f.kv {
		switch {
		case e.Key == "connection."+f.id(t, "established"), e.Bucket == connectionkv.BucketEscrow,
			strings.HasPrefix(e.Key, "state.") && bytes.Contains(e.Value, []byte(f.id(t, "link_created"))):
			f.kv[i].Value = bumped(t, e.Value)
			want[e.Bucket+"/"+e.Key] = f.kv[i].Value
		}
	}
	if len(want) != 3 {
		t.Fatalf("%d keys, want a connection, a binding and an answer in escrow", len(want))
	}
	for i, s := range f.secrets {
		if s.ID == f.id(t, "rotating") {
			f.secrets[i].Data = bumped(t, s.Data)
		}
	}
	for i, s := range f.spool {
		f.spool[i].Data = bumped(t, s.Data)
	}
	for i, m := range f.messages {
		if strings.HasPrefix(m.Subject, events.SubjectTimerPark+".") {
			f.messages[i].Data, parked = bumped(t, m.Data), strings.Replace(m.Subject, events.SubjectTimerPark, events.SubjectDuePark, 1)
		}
	}
	return want, parked
}

// allWait waits until the events of these ids, and that callback, are parked.
func (w *world) allWait(waiting []string, callback uint64) {
	w.Helper()
	w.eventually("all that needs them waits", func() bool {
		n := 0
		for _, m := range w.stored(events.StreamTimers) {
			if !strings.HasPrefix(m.Subject, events.SubjectTimerPark+".") {
				continue
			}
			var ref struct {
				Stream   string `json:"stream"`
				Sequence uint64 `json:"sequence"`
			}
			if json.Unmarshal(m.Data, &ref) != nil {
				continue
			}
			original, err := streamread.At(w.ctx(), w.js, ref.Stream, ref.Sequence)
			if err != nil {
				continue
			}
			env, err := events.Codec{}.Parse(events.Message{Subject: original.Subject, Header: original.Header, Data: original.Data, Stream: ref.Stream, Sequence: ref.Sequence})
			if err == nil && slices.Contains(waiting, env.ID) || ref.Stream == events.StreamCallbacks && ref.Sequence == callback {
				n++
			}
		}
		return n == len(waiting)+1
	})
}

func jsonEqual(t *testing.T, a, b any) bool {
	t.Helper()
	x, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(x, y)
}

// TestUnknownMembersSurvive: what a later release adds to a record outlives its being
// written by today's code.
func TestUnknownMembersSurvive(t *testing.T) {
	releases := releases(t)
	f := load(t, releases[len(releases)-1])
	w := newWorld(t)
	const later = `{"later":{"a":[1,"<&>"]},"v":1`
	add := func(raw []byte) []byte {
		return bytes.Replace(bytes.Replace(raw, []byte(`"v":1`), []byte(`"w":1`), 1), []byte(`{`), []byte(later+`,`), 1)
	}
	id, link := f.id(t, "established"), f.id(t, "link_created")
	var binding string
	for i, e := range f.kv {
		if strings.HasPrefix(e.Key, "state.") && bytes.Contains(e.Value, []byte(link)) {
			binding = e.Key
		}
		if e.Key == "connection."+id || e.Key == binding {
			f.kv[i].Value = add(e.Value)
		}
	}
	for i, s := range f.secrets {
		if s.ID == id {
			f.secrets[i].Data = add(s.Data)
		}
	}
	w.restore(f)
	written, consumed := w.value(connectionkv.BucketConnections, "connection."+id), w.value(connectionkv.BucketConnections, binding)
	stop := w.serve(map[string]string{"FINX_REFRESH_SKEW": "1h"})
	rotated := rotation(w, id)
	w.emit(events.TypeSyncRequested, "sync-today", events.SyncRequested{ConnectionID: id})
	w.fetchOf("established", id, "sync-today")
	back := w.approve(w.link("user-link_created", "state-link_created"))
	body, err := json.Marshal(map[string]string{"callback_url": back.String()})
	w.must(err)
	w.publish(events.TypeCallbackReceived, nats.Header{}, body)
	w.eventually("it is established", func() bool { return w.record(link).State == connection.Established })
	stop()
	for key, before := range map[string][]byte{"connection." + id: written, binding: consumed} {
		now := w.value(connectionkv.BucketConnections, key)
		if bytes.Equal(now, before) || !bytes.Contains(now, []byte(`"later":{"a":[1,"\u003c\u0026\u003e"]}`)) && !bytes.Contains(now, []byte(`"later":{"a":[1,"<&>"]}`)) {
			t.Errorf("%s: %s", key, now)
		}
	}
	secret := w.secret(id)
	if rotation(w, id) <= rotated || !jsonEqual(t, secret["later"], map[string]any{"a": []any{1, "<&>"}}) {
		t.Errorf("rotated %v, later %v", rotation(w, id), secret["later"])
	}
}
