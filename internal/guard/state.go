package guard

import "time"

// The kinds of openings, as they are stored.
const (
	kindAway      = "away"
	kindThrottled = "throttled"
)

// yield is for how long the process that saw the last failure leaves the probe to
// the others: where it is the one that is sick, its probes say nothing about the
// server. It is longer than the steps of Wait, so that every lane of a healthy
// replica comes first.
const yield = time.Second

// state is what is known of one server, as the replicas share it. The zero value
// is closed: the server is asked. All times are UTC, without a monotonic part.
type state struct {
	Kind string `json:"kind,omitempty"`
	// OpenUntil is before when nobody may ask. Zero: closed.
	OpenUntil time.Time `json:"open_until,omitzero"`
	// Since is when it opened; it names the episode.
	Since time.Time `json:"since,omitzero"`
	// Trips counts how often it opened without having gone well in between; the wait
	// grows with it. More than none in a closed state is probation: the server said
	// that it works, and no call has found that to be so yet.
	Trips int `json:"trips,omitempty"`
	// Why is the last failure, for people.
	Why string `json:"why,omitempty"`
	// By is the process that saw the last failure, Others whether one before it in
	// this episode was another: then it is not one sick process that says so.
	By     string `json:"by,omitempty"`
	Others bool   `json:"others,omitempty"`
	// Prober is the process that may ask when OpenUntil has passed, until
	// ProbeUntil; empty: whoever comes first.
	Prober     string    `json:"prober,omitempty"`
	ProbeUntil time.Time `json:"probe_until,omitzero"`
	// Overruled is, in a closed state, the process that alone had found the server
	// away when another found it working, at ClosedAt.
	Overruled string    `json:"overruled,omitempty"`
	ClosedAt  time.Time `json:"closed_at,omitzero"`
}

// limits are how long to wait.
type limits struct {
	first time.Duration // after the first opening, doubled at each further one
	most  time.Duration // longest wait, unless the server names a longer one
	probe time.Duration // how long a prober has for its answer
}

// failure is an answer that opens.
type failure struct {
	kind   string
	until  time.Time // when the server may be asked again; zero: it did not say
	why    string
	holder string  // who got it
	jitter float64 // in [0, 1)
}

// isOpen reports whether the server is not to be asked by everybody.
func (s state) isOpen() bool { return !s.OpenUntil.IsZero() }

// isOnProbation reports whether the server is asked, one call after the other,
// because nobody knows yet whether it does more than to say that it works.
func (s state) isOnProbation() bool { return !s.isOpen() && s.Trips > 0 }

// opened is the state after a failure that opens: the first, or that of a probe.
// The wait lies between half and the whole of First × 2^trips, at most Max; a time
// the server named is never undercut, neither this one nor an earlier one. A probe
// that is under way stays so.
func (s state) opened(now time.Time, f failure, lim limits) state {
	wait := lim.first
	for range s.Trips {
		if wait *= 2; wait >= lim.most {
			break
		}
	}
	wait = min(wait, lim.most)
	wait = wait/2 + time.Duration(float64(wait/2)*f.jitter)
	next := state{
		Kind: f.kind, OpenUntil: now.Add(wait), Since: now, Trips: s.Trips + 1,
		Why: f.why, By: f.holder,
	}
	if f.until.After(next.OpenUntil) {
		next.OpenUntil = f.until
	}
	return s.merged(now, next)
}

// extended is the open state after somebody was told to stay away for longer;
// changed is false when that is not longer.
func (s state) extended(f failure) (next state, changed bool) {
	if !s.isOpen() || !f.until.After(s.OpenUntil) {
		return s, false
	}
	s.Kind, s.OpenUntil, s.Why = f.kind, f.until, f.why
	s.Others = s.Others || s.By != f.holder
	s.By = f.holder
	return s, true
}

// merged is what two openings say together, later being the younger knowledge:
// the later time, the more trips, the episode that began first. An opening after a
// probation goes on counting, and who opens then is not the only one to say so if
// another did before.
func (s state) merged(now time.Time, later state) state {
	switch {
	case !later.isOpen() && !s.isOpen() && later.Trips > s.Trips:
		return later
	case !later.isOpen():
		return s
	case s.isOnProbation():
		later.Trips = max(later.Trips, s.Trips)
		later.Others = later.Others || s.Others || s.By != later.By
		return later
	case !s.isOpen():
		return later
	}
	out := later
	if s.Since.Before(out.Since) {
		out.Since = s.Since
	}
	out.Trips = max(s.Trips, later.Trips)
	out.Others = s.Others || later.Others || s.By != later.By
	if s.Kind == kindThrottled && now.Before(s.OpenUntil) {
		out.Kind = kindThrottled // what the server asked for still holds
	}
	if s.OpenUntil.After(out.OpenUntil) {
		out.OpenUntil, out.Why = s.OpenUntil, s.Why
	}
	if out.Prober == "" {
		out.Prober, out.ProbeUntil = s.Prober, s.ProbeUntil // it is under way all the same
	}
	return out
}

// probeFrom is when holder may probe if nobody does; several says that other
// processes may do it instead.
func (s state) probeFrom(holder string, several bool) time.Time {
	if several && s.By == holder {
		return s.OpenUntil.Add(yield)
	}
	return s.OpenUntil
}

// probedBy reports who probes at that time, "" for nobody.
func (s state) probedBy(now time.Time) string {
	if s.isOpen() && now.Before(s.ProbeUntil) {
		return s.Prober
	}
	return ""
}

// claimed is the state in which holder probes; ok is false while nobody may, or
// somebody else does.
func (s state) claimed(now time.Time, holder string, lim limits) (next state, ok bool) {
	if !s.isOpen() || now.Before(s.OpenUntil) {
		return s, false
	}
	if by := s.probedBy(now); by != "" && by != holder {
		return s, false
	}
	s.Prober, s.ProbeUntil = holder, now.Add(lim.probe)
	return s, true
}

// released is the state after holder gave its probe back unused.
func (s state) released(holder string) (next state, changed bool) {
	if s.Prober != holder || holder == "" {
		return s, false
	}
	s.Prober, s.ProbeUntil = "", time.Time{}
	return s, true
}

// bounded is a state heard of, held to the longest waits there are: its writer's
// clock may be ahead. What the server asked for is not touched.
func (s state) bounded(now time.Time, lim limits) state {
	if latest := now.Add(lim.most); s.Kind == kindAway && s.OpenUntil.After(latest) {
		s.OpenUntil = latest
	}
	if latest := now.Add(lim.probe); s.ProbeUntil.After(latest) {
		s.ProbeUntil = latest
	}
	return s
}

// as is the stored state as it was seen, bounded, if it still is that one.
func (s state) as(seen state) state {
	if !s.isOpen() || !s.Since.Equal(seen.Since) || s.Trips != seen.Trips || s.Kind != seen.Kind || s.Kind != kindAway {
		return s
	}
	s.OpenUntil = seen.OpenUntil
	if s.Prober == seen.Prober {
		s.ProbeUntil = seen.ProbeUntil
	}
	return s
}

// closable reports whether an answer that shows the server working closes: never
// before the time that the server itself named.
func (s state) closable(now time.Time) bool {
	return s.isOpen() && (s.Kind == kindAway || !now.Before(s.OpenUntil))
}

// closed is the state after holder found the server working: by a call, or, with
// probation, only by asking whether it works.
func (s state) closed(now time.Time, holder string, probation bool) state {
	next := state{ClosedAt: now}
	if s.Kind == kindAway && !s.Others && s.By != holder {
		next.Overruled = s.By
	}
	if probation {
		next.Kind, next.Since, next.Why, next.By, next.Others = s.Kind, s.Since, s.Why, s.By, s.Others
		next.Trips = max(s.Trips, 1)
	}
	return next
}
