package dlq_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/dlq"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

func TestNotesAreKept(t *testing.T) {
	if dlq.DefaultControl != connectionkv.BucketControl {
		t.Errorf("notes are kept in %s", dlq.DefaultControl)
	}
	r := newRig(t, events.Codec{})
	if notes, newer, err := r.queue.Notes(t.Context()); err != nil || len(notes) != 0 || newer != 0 {
		t.Fatalf("%+v, %d, %v", notes, newer, err)
	}
	day := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	n := dlq.Note{Run: "run-1", Action: dlq.ActionDiscard, By: "anna", Reason: "test", Selection: "--all", StartedAt: day, Planned: dlq.MostNoted + 1}
	if err := r.queue.Keep(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(dlq.MostNoted + 1) {
		n.Add(dlq.Letter{Sequence: i + 1, Reason: fault.Rejected, Original: dlq.Original{Stream: "S", Sequence: i + 7}, Data: []byte("canary-body")})
	}
	n.FinishedAt = day.Add(time.Minute)
	for _, kept := range []dlq.Note{n, {Run: "run-2", Action: dlq.ActionRedrive, StartedAt: day.Add(time.Hour)}} {
		if err := r.queue.Keep(t.Context(), kept); err != nil {
			t.Fatal(err)
		}
	}
	kv, err := r.js.KeyValue(t.Context(), dlq.DefaultControl)
	if err == nil {
		_, err = kv.Put(t.Context(), "dlq.run-3", []byte(`{"v":2,"run":{}}`))
	}
	if err != nil {
		t.Fatal(err)
	}
	notes, newer, err := r.queue.Notes(t.Context())
	if err != nil || newer != 1 || len(notes) != 2 || notes[0].Run != "run-2" {
		t.Fatalf("%+v, %d, %v", notes, newer, err)
	}
	if got := notes[1]; got.V != 1 || got.Done != dlq.MostNoted+1 || len(got.Letters) != dlq.MostNoted || !got.FinishedAt.Equal(n.FinishedAt) ||
		!slices.Contains(got.Letters, dlq.Noted{Sequence: 1, Class: fault.Rejected, Stream: "S", Original: 7}) {
		t.Errorf("%+v", got)
	}
	e, err := kv.Get(t.Context(), "dlq.run-1")
	if err != nil || strings.Contains(string(e.Value()), "canary-body") || len(e.Value()) > 32<<10 {
		t.Errorf("%d bytes: %s, %v", len(e.Value()), e.Value(), err)
	}
	// It goes away by itself.
	first, err := r.stream(t, "KV_"+dlq.DefaultControl).GetLastMsgForSubject(t.Context(), "$KV."+dlq.DefaultControl+".dlq.run-1")
	if err != nil || first.Header.Get("Nats-TTL") != dlq.NoteLife.String() {
		t.Errorf("headers %v, %v", first.Header, err)
	}
}

func TestNotesWithoutTheirBucket(t *testing.T) {
	r := newRig(t, events.Codec{})
	if err := r.js.DeleteKeyValue(t.Context(), dlq.DefaultControl); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := r.queue.Keep(ctx, dlq.Note{Run: "x"}); err == nil || !strings.Contains(err.Error(), "bucket finx_control") || fault.Of(err) == fault.Done {
		t.Errorf("%v", err)
	}
	if _, _, err := r.queue.Notes(ctx); err == nil || !strings.Contains(err.Error(), "bucket finx_control") {
		t.Errorf("%v", err)
	}
}
