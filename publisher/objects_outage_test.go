package publisher

import (
	"bytes"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// checkStored reads objects back and counts the messages of the store: every
// chunk once, however often it was sent.
func checkStored(t *testing.T, js jetstream.JetStream, size int, refs []events.OversizeObject) {
	t.Helper()
	objects, err := js.ObjectStore(t.Context(), events.ObjectsOversize)
	if err != nil {
		t.Fatal(err)
	}
	for i, ref := range refs {
		if !bytes.Equal(read(t, objects, ref), blob(uint64(i), size)) {
			t.Errorf("object %d has other bytes", i)
		}
	}
	each := (size+objectChunk-1)/objectChunk + 1
	if msgs, last := inStore(t, js); msgs != uint64(each*len(refs)) || last != msgs {
		t.Errorf("%d messages up to %d, want %d", msgs, last, each*len(refs))
	}
}

// TestObjectsThroughAnElection kills the node that leads the object store while
// two processes store the same objects.
func TestObjectsThroughAnElection(t *testing.T) {
	cluster := natstest.Cluster(t, 3)
	js := natstest.JetStream(t, cluster.URL())
	if _, err := js.CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: events.ObjectsOversize, Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	metrics := NewMetrics(prometheus.NewRegistry())
	noticed := func() (n float64) {
		for _, r := range reasons() {
			if r != reasonConflict { // those the two make each other
				n += testutil.ToFloat64(metrics.retries.WithLabelValues(string(r)))
			}
		}
		return n
	}
	const n, size = 40, 512<<10 + 1
	type result struct {
		refs []events.OversizeObject
		err  error
	}
	begun, done := make(chan struct{}), make(chan result, 2)
	for w := range 2 {
		p := newPublisher(t, Config{JS: js, Metrics: metrics})
		go func() {
			var r result
			for i := 0; r.err == nil && i < n; i++ {
				if w == 0 && i == n/10 {
					close(begun)
				}
				var ref events.OversizeObject
				ref, r.err = p.storeObject(t.Context(), blob(uint64(i), size), i)
				r.refs = append(r.refs, ref)
			}
			done <- r
		}()
	}
	<-begun
	leader := cluster.StreamLeader(objectStream)
	cluster.Kill(leader)
	if len(done) > 0 {
		t.Error("the kill came too late: the test shows nothing")
	}
	var refs []events.OversizeObject
	for range 2 {
		r := <-done
		if r.err != nil {
			t.Fatal(r.err)
		}
		refs = r.refs // both stored the same
	}
	cluster.Restart(leader)
	natstest.WaitStreamLeader(t, js, objectStream)
	t.Logf("%d objects, %v repeats for the election, %v because the other was faster", len(refs), noticed(),
		testutil.ToFloat64(metrics.retries.WithLabelValues(string(reasonConflict))))
	checkStored(t, js, size, refs)
}

// TestALostAckStoresAChunkOnce stops the broker in mid-air: what it is sent is
// stored when it goes on, although nobody waited for the ack.
func TestALostAckStoresAChunkOnce(t *testing.T) {
	broker := natstest.ExternalProcess(t)
	js := natstest.JetStream(t, broker.URL())
	objectStore(t, js)
	metrics := NewMetrics(prometheus.NewRegistry())
	p := newPublisher(t, Config{JS: js, AttemptTimeout: 300 * time.Millisecond, Metrics: metrics})
	const size = 16 << 20
	var refs []events.OversizeObject
	for i := range 3 {
		timeouts := testutil.ToFloat64(metrics.retries.WithLabelValues(string(reasonTimeout)))
		begun := make(chan struct{})
		type result struct {
			ref events.OversizeObject
			err error
		}
		done := make(chan result, 1)
		go func() {
			close(begun)
			ref, err := p.storeObject(t.Context(), blob(uint64(i), size), 0)
			done <- result{ref, err}
		}()
		<-begun
		broker.Pause()
		natstest.Eventually(t, 20*time.Second, func() bool {
			return testutil.ToFloat64(metrics.retries.WithLabelValues(string(reasonTimeout))) > timeouts || len(done) > 0
		}, "an attempt ran out of time")
		broker.Resume()
		r := <-done
		if r.err != nil {
			t.Fatal(r.err)
		}
		refs = append(refs, r.ref)
	}
	if n := testutil.ToFloat64(metrics.retries.WithLabelValues(string(reasonTimeout))); n == 0 {
		t.Error("no ack was lost: the test shows nothing")
	}
	checkStored(t, js, size, refs)
}

// TestObjectsOverAKill: what was acked before the SIGKILL is not sent again, and
// the rest is stored when the broker is back.
func TestObjectsOverAKill(t *testing.T) {
	broker := natstest.ExternalProcess(t)
	js := natstest.JetStream(t, broker.URL())
	objectStore(t, js)
	metrics := NewMetrics(prometheus.NewRegistry())
	p := newPublisher(t, Config{JS: js, AttemptTimeout: time.Second, Metrics: metrics})
	const size = 4<<20 + 5
	first, err := p.storeObject(t.Context(), blob(0, size), 0)
	if err != nil {
		t.Fatal(err)
	}
	broker.Kill()
	done := make(chan error, 1)
	var second events.OversizeObject
	go func() {
		var err error
		second, err = p.storeObject(t.Context(), blob(1, size), 0)
		done <- err
	}()
	natstest.Eventually(t, 20*time.Second, func() bool {
		return testutil.ToFloat64(metrics.retries.WithLabelValues(string(reasonDisconnected)))+
			testutil.ToFloat64(metrics.retries.WithLabelValues(string(reasonTimeout))) > 0
	}, "the upload waits for the broker")
	broker.Start()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	checkStored(t, js, size, []events.OversizeObject{first, second})
}
