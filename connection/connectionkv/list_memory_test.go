package connectionkv_test

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/streams"
)

// A walk over 45 MB of records must not hold them: a broker that pushes is ahead
// of whoever decodes, by as much as it may. The broker is a process of its own, so
// that the heap is ours alone.
func TestAWalkHoldsNoRecords(t *testing.T) {
	const records, most = 20_000, 16 << 20
	js := natstest.JetStream(t, natstest.ExternalProcess(t).URL())
	topology := streams.Plan(streams.Config{})
	changes, err := topology.Diff(t.Context(), js)
	if err == nil {
		err = topology.Apply(t.Context(), js, changes)
	}
	if err != nil {
		t.Fatal(err)
	}
	store, err := connectionkv.New(connectionkv.Config{JS: js})
	if err != nil {
		t.Fatal(err)
	}
	var writing sync.WaitGroup
	const writers = 16
	for w := range writers {
		writing.Go(func() {
			for i := w; i < records; i += writers {
				r := connection.New(fmt.Sprintf("%08d-0000-5000-8000-000000000000", i), "u", time.Now())
				r.Scope = strings.Repeat("x", 2<<10)
				if _, err := store.Create(t.Context(), r); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writing.Wait()
	// What is held is meant, not what a busy machine has not come to collect yet.
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	var peak atomic.Uint64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak.Store(max(peak.Load(), m.HeapAlloc))
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	n := 0
	err = store.List(t.Context(), func(connection.Record) error { n++; return nil })
	close(stop)
	<-stopped
	if err != nil || n != records {
		t.Fatalf("%d records, %v", n, err)
	}
	if grown := int64(peak.Load()) - int64(before.HeapAlloc); grown > most {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	} else {
		t.Logf("the heap grew by %d KiB", grown>>10)
	}
}
