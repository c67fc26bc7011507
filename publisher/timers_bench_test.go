package publisher

import (
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// BenchmarkScheduleKeepAlive sets one timer an iteration, each of a connection of
// its own and 60 days ahead, and shows what a timer takes of the broker's memory
// and disk. Run it with -benchtime 10000x for that many.
func BenchmarkScheduleKeepAlive(b *testing.B) {
	js := natstest.JetStream(b, natstest.Start(b).URL())
	s := createStream(b, js, timersStream())
	p := newPublisher(b, Config{JS: js})
	before := heap()
	at, n := time.Now().Add(60*24*time.Hour), atomic.Int64{}
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			id := events.UUIDv5("bench", strconv.FormatInt(i, 10))
			if err := p.ScheduleKeepAlive(b.Context(), id, at.Add(time.Duration(i)*time.Second)); err != nil {
				b.Error(err)
			}
		}
	})
	b.StopTimer()
	disk := timersOnDisk(b, s, n.Load())
	b.ReportMetric(float64(heap()-before)/float64(n.Load()), "heap-B/timer")
	b.ReportMetric(float64(disk)/float64(n.Load()), "disk-B/timer")
}

// timersOnDisk returns the bytes of the stream, which must hold that many timers.
func timersOnDisk(b *testing.B, s jetstream.Stream, want int64) uint64 {
	b.Helper()
	info, err := s.Info(b.Context(), jetstream.WithSubjectFilter("finx.timer.>"))
	if err != nil || int64(len(info.State.Subjects)) != want {
		b.Fatalf("%d timers, %v, want %d", len(info.State.Subjects), err, want)
	}
	return info.State.Bytes
}

// heap returns the bytes in use, of this process and so of the broker in it.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
