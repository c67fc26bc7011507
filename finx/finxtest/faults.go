package finxtest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Fault is one thing that goes wrong. When says which calls it hits (Call, Nth,
// Every, Probability, Times), the rest what happens to them. Of several faults
// that fit a call the oldest acts.
type Fault struct {
	// ID is given by AddFault.
	ID int `json:"id"`
	// Call is a call name as in the package comment, a group of them ("token"
	// stands for token.*), or "*".
	Call string `json:"call"`
	// Nth hits only the n-th fitting call (from 1), Every each n-th one.
	Nth   int `json:"nth,omitempty"`
	Every int `json:"every,omitempty"`
	// Probability between 0 and 1; 0 means always.
	Probability float64 `json:"probability,omitempty"`
	// Times ends the fault after that many hits; 0 means never.
	Times int `json:"times,omitempty"`

	// Status replaces the answer. Body (JSON) or HTML is its body; without
	// either it is a finX error with Code.
	Status int    `json:"status,omitempty"`
	Body   string `json:"body,omitempty"`
	HTML   string `json:"html,omitempty"`
	Code   int    `json:"code,omitempty"`
	// When is "before" (default: the call changes nothing) or "after": the call
	// takes effect, and only then comes the delay or the replaced answer.
	When string `json:"when,omitempty"`
	// RetryAfter is sent as it is: seconds or an HTTP date. In JSON also a number.
	RetryAfter RetryAfter `json:"retry_after,omitempty"`
	// Delay waits before the call, or after its effect (When).
	Delay Duration `json:"delay,omitempty"`
	// Drop closes the connection without an answer: "before" or "after" the
	// state has changed.
	Drop string `json:"drop,omitempty"`
	// Truncate sends so many bytes of the body under the full Content-Length,
	// then closes the connection.
	Truncate int `json:"truncate,omitempty"`
	// Drip sends the body in small pieces.
	Drip *Drip `json:"drip,omitempty"`

	// Seen counts the fitting calls, Hits those that the fault acted on.
	Seen int `json:"seen"`
	Hits int `json:"hits"`
}

// Drip sends Bytes, waits Interval, and so on to the end of the body.
type Drip struct {
	Bytes    int      `json:"bytes"`
	Interval Duration `json:"interval"`
}

func (f Fault) fits(call string) bool {
	return f.Call == "*" || f.Call == call || strings.HasPrefix(call, f.Call+".")
}

// faultSet holds the faults in the order they were added.
type faultSet struct {
	list []*Fault
	next int
	dice *rand.Rand
}

func newFaultSet(seed uint64) faultSet {
	return faultSet{next: 1, dice: rand.New(rand.NewPCG(seed, 1))}
}

// pick counts the call with every fitting fault and returns the one that acts.
func (fs *faultSet) pick(call string) (Fault, bool) {
	var acting *Fault
	for _, f := range fs.list {
		if !f.fits(call) {
			continue
		}
		f.Seen++
		if acting != nil || (f.Times > 0 && f.Hits >= f.Times) || (f.Nth > 0 && f.Seen != f.Nth) ||
			(f.Every > 0 && f.Seen%f.Every != 0) || (f.Probability > 0 && fs.dice.Float64() >= f.Probability) {
			continue
		}
		acting = f
	}
	if acting == nil {
		return Fault{}, false
	}
	acting.Hits++
	return *acting, true
}

// AddFault switches a fault on and returns its id. ID, Seen and Hits of f are
// not looked at.
func (s *Sandbox) AddFault(f Fault) (id int, err error) {
	if err := f.validate(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f.ID, f.Seen, f.Hits = s.faults.next, 0, 0
	s.faults.next++
	s.faults.list = append(s.faults.list, &f)
	return f.ID, nil
}

// Faults returns the faults with their counters.
func (s *Sandbox) Faults() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Fault, 0, len(s.faults.list))
	for _, f := range s.faults.list {
		out = append(out, *f)
	}
	return out
}

// ClearFaults switches every fault off.
func (s *Sandbox) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.list = nil
}

// Duration is a time.Duration that JSON writes as "1m30s"; "90d" is read too.
type Duration time.Duration

// MarshalText writes the duration in Go's notation.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads Go's notation or a whole number of days ("90d").
func (d *Duration) UnmarshalText(b []byte) error {
	if days, ok := strings.CutSuffix(string(b), "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 0 || n > 36500 {
			return fmt.Errorf("finxtest: %q is not a duration", b)
		}
		*d = Duration(n) * Duration(day)
		return nil
	}
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("finxtest: %q is not a duration", b)
	}
	*d = Duration(v)
	return nil
}

// RetryAfter is the value of a Retry-After header.
type RetryAfter string

// UnmarshalJSON takes a number of seconds or a string as it is.
func (v *RetryAfter) UnmarshalJSON(b []byte) error {
	var seconds json.Number
	if b[0] != '"' {
		if err := json.Unmarshal(b, &seconds); err != nil {
			return fmt.Errorf("finxtest: retry_after: %w", err)
		}
		*v = RetryAfter(seconds)
		return nil
	}
	return json.Unmarshal(b, (*string)(v))
}
