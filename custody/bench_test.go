package custody_test

import (
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/custody"
)

// BenchmarkReceivedToKept times how long an answer is in memory only: sealing it
// and writing the sealed copy into the spool.
func BenchmarkReceivedToKept(b *testing.B) {
	spool, err := custody.NewSpool(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	keep := custody.KeepForBenchmark(b, spool)
	for b.Loop() {
		keep()
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(time.Microsecond), "µs/answer")
}
