// Package doctor checks every dependency and setting of the connector and says for
// each what was seen, how good that is and what to type about it.
//
// The adapters know the questions (streams, vaultstore, finx, natsconn,
// connectionkv); here is only what their answers mean. Run asks all servers side by
// side, goes on where one of them is away, and ends in bounded time. It changes
// nothing anywhere, and nothing it says holds a secret.
package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Verdict is how good a finding is.
type Verdict string

// The verdicts.
const (
	OK   Verdict = "ok"
	Warn Verdict = "warn" // works, and may hurt one day
	Fail Verdict = "fail" // does not work, or loses something
	Skip Verdict = "skip" // could not be looked at; what was seen says why
)

// The groups of findings, in the order in which they are reported.
const (
	GroupSettings  = "settings"
	GroupRedirects = "redirects"
	GroupNATS      = "nats"
	GroupStreams   = "streams"
	GroupVault     = "vault"
	GroupFinX      = "finx"
	GroupClock     = "clock"
	GroupState     = "state"
)

// Groups lists them.
func Groups() []string {
	return []string{GroupSettings, GroupRedirects, GroupNATS, GroupStreams, GroupVault, GroupFinX, GroupClock, GroupState}
}

// Finding is one line of the report.
type Finding struct {
	Group   string  `json:"group"`
	Check   string  `json:"check"`
	Verdict Verdict `json:"verdict"`
	Seen    string  `json:"seen"`
	Remedy  string  `json:"remedy,omitempty"` // what to type, or to set
}

// Report is what a run has found, in the order of Groups.
type Report []Finding

// Count returns how many findings have a verdict.
func (r Report) Count(v Verdict) int {
	n := 0
	for _, f := range r {
		if f.Verdict == v {
			n++
		}
	}
	return n
}

// Summary counts the findings in a line.
func (r Report) Summary() string {
	return fmt.Sprintf("%d ok, %d to be warned of, %d failed, %d skipped", r.Count(OK), r.Count(Warn), r.Count(Fail), r.Count(Skip))
}

// Check looks at one dependency and writes what it finds on a sheet.
type Check struct {
	Group string // of what is said should it not end in time
	Run   func(ctx context.Context, s *Sheet)
}

// grace is how long a check has to end after its time is over.
const grace = time.Second

// Run makes the checks, all at once, each for as long as limit. One that does not end
// by then is left behind with what it has found, and said to have failed. Clocks are
// compared when all have ended.
func Run(ctx context.Context, limit time.Duration, clocks func(*Sheet), checks ...Check) Report {
	sheets := make([]*Sheet, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		sheets[i] = &Sheet{}
		wg.Go(func() { runOne(ctx, limit, c, sheets[i]) })
	}
	wg.Wait()
	last := &Sheet{}
	for _, s := range sheets {
		last.readings = append(last.readings, s.readings...)
	}
	if clocks != nil {
		clocks(last)
	}
	var report Report
	for _, s := range sheets {
		report = append(report, s.findings...)
	}
	report = append(report, last.findings...)
	order := Groups()
	slices.SortStableFunc(report, func(a, b Finding) int { return slices.Index(order, a.Group) - slices.Index(order, b.Group) })
	return report
}

func runOne(ctx context.Context, limit time.Duration, c Check, s *Sheet) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Run(ctx, s)
	}()
	select {
	case <-ended:
		s.close()
		return
	case <-ctx.Done():
	}
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case <-ended:
	case <-late.C:
		s.fail(c.Group, "time", fmt.Sprintf("not all of it was seen within %s", limit), "try again with a longer --timeout; if that does not help, what is said above is all that answers")
	}
	s.close()
}

// Sheet is what a check writes on. It is safe for concurrent use; after its check was
// left behind nothing more is taken.
type Sheet struct {
	mu       sync.Mutex
	findings []Finding
	readings []Reading
	closed   bool
}

func (s *Sheet) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

func (s *Sheet) add(f Finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		f.Seen, f.Remedy = oneLine(f.Seen), oneLine(f.Remedy)
		s.findings = append(s.findings, f)
	}
}

func (s *Sheet) ok(group, check, seen string) {
	s.add(Finding{Group: group, Check: check, Verdict: OK, Seen: seen})
}

func (s *Sheet) warn(group, check, seen, remedy string) {
	s.add(Finding{group, check, Warn, seen, remedy})
}

func (s *Sheet) fail(group, check, seen, remedy string) {
	s.add(Finding{group, check, Fail, seen, remedy})
}

// skip says why something was not looked at.
func (s *Sheet) skip(group, check, why string) {
	s.add(Finding{Group: group, Check: check, Verdict: Skip, Seen: "skipped: " + why})
}

// judge is fail, warn or ok, whichever holds first.
func (s *Sheet) judge(fails, warns bool, f Finding) {
	switch {
	case fails:
		f.Verdict = Fail
	case warns:
		f.Verdict = Warn
	default:
		f.Verdict, f.Remedy = OK, ""
	}
	s.add(f)
}

// oneLine keeps what servers say from breaking the table.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
