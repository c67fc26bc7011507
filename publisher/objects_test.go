package publisher

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// objectStore makes the bucket as any client would.
func objectStore(t testing.TB, js jetstream.JetStream) jetstream.ObjectStore {
	t.Helper()
	s, err := js.CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: events.ObjectsOversize, Compression: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// spliced reads a part as the schema tells downstream to: with the client of the
// object store, which checks the digest itself.
func spliced(t *testing.T, objects jetstream.ObjectStore, p part) []string {
	t.Helper()
	list := make([]string, len(p.Data.Transactions))
	for i, tx := range p.Data.Transactions {
		list[i] = string(tx)
	}
	for _, r := range p.Data.Oversize {
		list = slices.Insert(list, r.Index, string(read(t, objects, r)))
	}
	return list
}

func read(t *testing.T, objects jetstream.ObjectStore, r events.OversizeObject) []byte {
	t.Helper()
	var raw []byte
	natstest.Eventually(t, 30*time.Second, func() (ok bool) { // a node that has just come back may not answer at once
		var err error
		raw, err = objects.GetBytes(context.WithoutCancel(t.Context()), r.Object)
		return err == nil
	}, "object "+r.Object+" can be read")
	sum := sha256.Sum256(raw)
	if hex.EncodeToString(sum[:]) != r.SHA256 || len(raw) != r.Bytes || r.Bucket != events.ObjectsOversize {
		t.Errorf("%+v refers to %d bytes of digest %x", r, len(raw), sum)
	}
	return raw
}

// blob is an object that no compression makes small.
func blob(seed uint64, size int) []byte {
	b := make([]byte, size)
	r := rand.New(rand.NewPCG(seed, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// inStore returns what the store's stream holds and its last sequence, which
// moves with everything that was ever written.
func inStore(t *testing.T, js jetstream.JetStream) (msgs, last uint64) {
	t.Helper()
	s, err := js.Stream(context.WithoutCancel(t.Context()), objectStream)
	if err != nil {
		t.Fatal(err)
	}
	state := s.CachedInfo().State
	return state.Msgs, state.LastSeq
}

func TestALargeTransactionIsStoredOnceAndReferredTo(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	s := createStream(t, js, eventsStream())
	objects := objectStore(t, js)
	metrics := NewMetrics(prometheus.NewRegistry())
	p := newPublisher(t, Config{JS: js, Metrics: metrics})
	list := func() [][]byte {
		return [][]byte{
			transaction(0, 3<<20), transaction(1, 300), transaction(2, 700<<10), transaction(3, 3<<20),
			transaction(4, 300<<10), transaction(5, 300<<10), transaction(6, 300), transaction(7, DefaultChunkBytes),
		}
	}
	run := func() []string {
		w := p.NewFetchWriter(meta(), 0)
		if r := fetch(t, w, "a", list()); r.Transactions != 8 || r.Parts != 2 {
			t.Errorf("%+v, want 8 transactions in 2 parts", r)
		}
		return w.Close()
	}
	first := run()
	msgs, last := inStore(t, js)
	var got []string
	for _, p := range parts(t, s) {
		got = append(got, spliced(t, objects, p)...)
		if p.size > DefaultChunkBytes {
			t.Errorf("a part of %d bytes", p.size)
		}
	}
	for i, tx := range list() {
		if i >= len(got) || got[i] != string(tx) {
			t.Fatalf("transaction %d of %d differs", i, len(got))
		}
	}
	if again := run(); !slices.Equal(again, first) || stored(t, s) != 2 {
		t.Errorf("the second run has the ids %v, the first %v; %d stored", again, first, stored(t, s))
	}
	if m, l := inStore(t, js); m != msgs || l != last {
		t.Errorf("the second run wrote: %d messages up to %d, were %d up to %d", m, l, msgs, last)
	}
	for outcome, want := range map[string]float64{"stored": 4, "found": 4} {
		if n := testutil.ToFloat64(metrics.objects.WithLabelValues(outcome)); n != want {
			t.Errorf("%v %s, want %v", n, outcome, want)
		}
	}
	if n := testutil.ToFloat64(metrics.stored); n != 6<<20+700<<10+DefaultChunkBytes {
		t.Errorf("%v bytes", n)
	}
}

// TestManyLargeTransactions has so many that their references alone fill parts.
func TestManyLargeTransactions(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	s := createStream(t, js, eventsStream())
	objects := objectStore(t, js)
	const n, chunk = 200, 16 << 10
	w := newPublisher(t, Config{JS: js}).NewFetchWriter(meta(), chunk)
	var list [][]byte
	for i := range n {
		list = append(list, transaction(i, chunk))
	}
	fetch(t, w, "a", list)
	all, got := parts(t, s), 0
	for _, p := range all {
		if p.size > chunk {
			t.Errorf("a part of %d bytes", p.size)
		}
		for _, tx := range spliced(t, objects, p) {
			if tx != string(transaction(got, chunk)) {
				t.Fatalf("transaction %d differs", got)
			}
			got++
		}
	}
	if got != n || len(all) < 4 {
		t.Errorf("%d of %d transactions in %d parts", got, n, len(all))
	}
}

func TestAnUploadGoesOnWhereAnotherStopped(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	objects := objectStore(t, js)
	p := newPublisher(t, Config{JS: js})
	raw := blob(1, 5*objectChunk+7)
	ref := events.NewOversizeObject(sha256.Sum256(raw), len(raw), 0)
	for stops := range 7 { // before any chunk up to before the description
		u := p.newUpload(ref, raw[:min(stops*objectChunk, len(raw))])
		if err := u.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		for ; u.next < u.chunks(); u.next++ {
			if err := writeChunk(t.Context(), u); err != nil {
				t.Fatal(err)
			}
		}
		if _, last := inStore(t, js); last != uint64(min(stops, 6)) {
			t.Fatalf("%d messages after %d chunks", last, stops)
		}
		if stops == 5 { // a process that still believes in what was there before
			late := p.newUpload(ref, raw)
			late.looked, late.next, late.last = true, 1, 1
			if err := late.attempt(t.Context()); reasonOf(err) != reasonConflict || fault.Of(err) != fault.Retry {
				t.Fatalf("error %v", err)
			}
		}
	}
	got, err := p.storeObject(t.Context(), raw, 3)
	if err != nil || got.Index != 3 || !bytes.Equal(read(t, objects, got), raw) {
		t.Fatalf("%+v, %v", got, err)
	}
	if msgs, last := inStore(t, js); msgs != 7 || last != 7 {
		t.Errorf("%d messages up to %d, want 6 chunks and the description", msgs, last)
	}
}

func writeChunk(ctx context.Context, u *upload) error {
	seq, err := u.publish(ctx, u.last, u.message(u.next))
	u.last = seq
	return err
}

func TestTwoSizesOfChunksMakeTwoUploads(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	objects := objectStore(t, js)
	limit := int64(64 << 10)
	raw := blob(2, 300<<10)
	small := newPublisher(t, Config{JS: js, MaxPayload: func() int64 { return limit }})
	ref := events.NewOversizeObject(sha256.Sum256(raw), len(raw), 0)
	begun := small.newUpload(ref, raw)
	if err := errors.Join(begun.look(t.Context()), writeChunk(t.Context(), begun)); err != nil {
		t.Fatal(err)
	}
	got, err := newPublisher(t, Config{JS: js}).storeObject(t.Context(), raw, 0)
	if err != nil || !bytes.Equal(read(t, objects, got), raw) {
		t.Fatal(err)
	}
	if _, err := small.storeObject(t.Context(), raw, 0); err != nil {
		t.Fatal(err)
	}
	if msgs, _ := inStore(t, js); msgs != 1+3+1 {
		t.Errorf("%d messages", msgs)
	}
}

func TestManyWritersStoreOneObject(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	objects := objectStore(t, js)
	raw := blob(3, 20*objectChunk)
	metrics := NewMetrics(prometheus.NewRegistry())
	var wg sync.WaitGroup
	for range 6 {
		p := newPublisher(t, Config{JS: js, Metrics: metrics})
		wg.Go(func() {
			if _, err := p.storeObject(t.Context(), raw, 0); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if msgs, last := inStore(t, js); msgs != 21 || last != 21 {
		t.Errorf("%d messages up to %d, want 20 chunks and the description", msgs, last)
	}
	ref := events.NewOversizeObject(sha256.Sum256(raw), len(raw), 0)
	if !bytes.Equal(read(t, objects, ref), raw) {
		t.Error("other bytes")
	}
	if n := testutil.ToFloat64(metrics.objects.WithLabelValues("stored")); n != 1 {
		t.Errorf("%v say they stored it", n)
	}
}

func TestARemovedObjectIsStoredAgain(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	objects := objectStore(t, js)
	p := newPublisher(t, Config{JS: js})
	raw := blob(4, 300<<10)
	ref, err := p.storeObject(t.Context(), raw, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := objects.Delete(t.Context(), ref.Object); err != nil {
		t.Fatal(err)
	}
	if _, err := p.storeObject(t.Context(), raw, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, objects, ref), raw) {
		t.Error("other bytes")
	}
}

func TestAMissingObjectStoreIsNamedAndHeals(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	events := createStream(t, js, eventsStream())
	w := newPublisher(t, Config{JS: js, Timeout: 200 * time.Millisecond}).NewFetchWriter(meta(), 0)
	w.StartAccount(head("a"))
	err := w.Add(t.Context(), transaction(1, 600<<10))
	if err == nil || !strings.Contains(err.Error(), "in finx_oversize") || !strings.Contains(err.Error(), "stream not found") {
		t.Errorf("error %v", err)
	}
	if fault.Of(err) != fault.Retry || fault.DependencyOf(err) != fault.NATS || reasonOf(err) != reasonNoStream {
		t.Errorf("verdict %v, reason %s of %v", fault.Of(err), reasonOf(err), err)
	}
	if n := stored(t, events); n != 0 {
		t.Errorf("%d events refer to nothing", n)
	}
	metrics := NewMetrics(prometheus.NewRegistry())
	p := newPublisher(t, Config{JS: js, Metrics: metrics})
	done := make(chan error, 1)
	go func() {
		_, err := p.storeObject(t.Context(), blob(5, 1<<20), 0)
		done <- err
	}()
	natstest.Eventually(t, 10*time.Second, func() bool {
		return testutil.ToFloat64(metrics.retries.WithLabelValues(string(reasonNoStream))) > 0
	}, "the upload waits for the store")
	objectStore(t, js)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAFullObjectStoreIsWaitedFor(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	if _, err := js.CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: events.ObjectsOversize, MaxBytes: 512 << 10}); err != nil {
		t.Fatal(err)
	}
	metrics := NewMetrics(prometheus.NewRegistry())
	p := newPublisher(t, Config{JS: js, Timeout: time.Second, Metrics: metrics})
	_, err := p.storeObject(t.Context(), blob(6, 1<<20), 0)
	if until, ok := fault.Until(err); !ok || time.Until(until) <= 0 || reasonOf(err) != reasonStoreFull {
		t.Errorf("error %v", err)
	}
	if n := testutil.ToFloat64(metrics.objects.WithLabelValues(string(reasonStoreFull))); n != 1 {
		t.Errorf("%v counted", n)
	}
	if _, err := js.UpdateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: events.ObjectsOversize, MaxBytes: 8 << 20}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.storeObject(t.Context(), blob(6, 1<<20), 0); err != nil {
		t.Error(err)
	}
	if msgs, last := inStore(t, js); msgs != 9 || last != 9 {
		t.Errorf("%d messages up to %d: the second call did not go on where the first stopped", msgs, last)
	}
}

// TestStoringNeedsNoMemory: the object is sent from where it lies.
func TestStoringNeedsNoMemory(t *testing.T) {
	broker := natstest.ExternalProcess(t) // its memory is not ours
	js := natstest.JetStream(t, broker.URL())
	objects := objectStore(t, js)
	p := newPublisher(t, Config{JS: js})
	if _, err := p.storeObject(t.Context(), blob(7, 1<<20), 0); err != nil { // warm
		t.Fatal(err)
	}
	raw := blob(8, 16<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	ref, err := p.storeObject(t.Context(), raw, 0)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 2<<20 {
		t.Errorf("%d bytes allocated for an object of %d", n, len(raw))
	} else {
		t.Logf("%d bytes allocated for an object of %d", n, len(raw))
	}
	if !bytes.Equal(read(t, objects, ref), raw) {
		t.Error("other bytes")
	}
}
