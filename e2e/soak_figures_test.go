package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/finx-connector/finx-connector/events"
)

// figures are what the run took, for people to read.
func (s *soak) figures(loaded, all time.Duration) string {
	var out strings.Builder
	fromOutside := 0
	s.ledger.mu.Lock()
	for _, in := range s.ledger.inputs {
		if in.kind != aFirstSync && in.kind != aTimerSync {
			fromOutside++
		}
	}
	s.ledger.mu.Unlock()
	fmt.Fprintf(&out, "figures: %d users, %d inputs in %s, %.1f a second; %s with settling\n",
		s.arrived, fromOutside, loaded.Round(time.Second), float64(fromOutside)/loaded.Seconds(), all.Round(time.Second))
	for _, typ := range []string{events.TypeConnectionEstablished, events.TypeFetchCompleted} {
		times := s.latencies(typ)
		fmt.Fprintf(&out, "  callback stored → %-28s p50 %8s  p90 %8s  p99 %8s  max %8s\n", typ,
			quantile(times, 0.5), quantile(times, 0.9), quantile(times, 0.99), quantile(times, 1))
	}
	for _, r := range s.replicas {
		r.mu.Lock()
		last := r.lives[len(r.lives)-1]
		fmt.Fprintf(&out, "  %s: %d lives, the last of %s: RSS %.1f → %.1f MiB, goroutines %d → %d, open files %d → %d\n",
			r.name, len(r.lives), time.Since(last.started).Round(time.Second), mib(last.begin.rss), mib(last.end.rss),
			last.begin.goroutines, last.end.goroutines, last.begin.fds, last.end.fds)
		r.mu.Unlock()
	}
	return out.String()
}

func mib(n int) float64 { return float64(n) / (1 << 20) }

// latencies are the times from a good callback to the first output of a type of
// its connection, sorted.
func (s *soak) latencies(typ string) (out []time.Duration) {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	first := map[string]time.Time{}
	for _, id := range s.ledger.said {
		o := s.ledger.outputs[id]
		if _, later := first[o.conn]; o.typ == typ && !later {
			first[o.conn] = o.at
		}
	}
	for _, in := range s.ledger.inputs {
		from, stored := s.ledger.stored[place{in.stream, in.sequence}]
		to, came := first[in.conn]
		if in.kind == aGoodCallback && stored && came {
			out = append(out, to.Sub(from))
		}
	}
	slices.Sort(out)
	return out
}

// quantile is the smallest of the sorted times that so many do not exceed.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	i := min(int(q*float64(len(sorted))), len(sorted)-1)
	return sorted[i].Round(time.Millisecond)
}
