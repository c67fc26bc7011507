package main

import (
	"fmt"
	"time"
)

// progressEvery is how often a long run says how far it is.
const progressEvery = 10 * time.Second

// progress says on standard error how far a run is, not before the first interval
// is over: a short run says nothing.
type progress struct {
	p       *program
	every   time.Duration
	total   int
	started time.Time
	told    time.Time
}

func (p *program) progress(every time.Duration, total int) *progress {
	now := time.Now()
	return &progress{p: p, every: every, total: total, started: now, told: now}
}

// reached says that n of all are done, with more words behind.
func (r *progress) reached(n int, words string) {
	now := time.Now()
	if now.Sub(r.told) < r.every || n == r.total {
		return
	}
	r.told = now
	left := time.Duration(float64(now.Sub(r.started)) / float64(n) * float64(r.total-n))
	fmt.Fprintf(r.p.stderr, "finx-connector: %d of %d (%s), about %s to go\n", n, r.total, words, short(left))
}
