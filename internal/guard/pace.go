package guard

import "time"

// slack is how much a late timer may be made up for, so that a high rate is
// reached although timers fire a little late.
const slack = 10 * time.Millisecond

// pace spreads calls evenly over time, without bursts: this process's share of a
// rate that all replicas keep together. The zero value holds nothing back. No lock:
// its owner holds one.
type pace struct {
	rate     float64 // calls a second of all replicas; 0 = no bound
	replicas func() int
	last     time.Time // when the last one went, in the even spacing
}

// every is the time between two calls of this process.
func (p *pace) every() time.Duration {
	return time.Duration(float64(time.Second) * float64(max(1, p.replicas())) / p.rate)
}

// wait is how long the next one has to wait, not positive when it may go now.
func (p *pace) wait(now time.Time) time.Duration {
	if p.rate == 0 || p.last.IsZero() {
		return 0
	}
	return p.last.Add(p.every()).Sub(now)
}

// take counts one that goes now, also one that could not wait: then the next ones
// wait for longer.
func (p *pace) take(now time.Time) {
	if p.rate == 0 {
		return
	}
	next := p.last.Add(p.every())
	if earliest := now.Add(-slack); p.last.IsZero() || next.Before(earliest) {
		next = earliest
	}
	p.last = next
}

// refund takes one back that did not go.
func (p *pace) refund() {
	if p.rate != 0 {
		p.last = p.last.Add(-p.every())
	}
}
