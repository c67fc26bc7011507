package finxtest

import (
	"net/http"
	"strconv"
	"time"
)

// bucket is a token bucket; its zero value is full.
type bucket struct {
	used float64 // tokens taken out and not yet flowed back
	at   time.Time
}

// take takes one token. When there is none it returns the time until one is.
func (b *bucket) take(now time.Time, perSecond float64, burst int) (wait time.Duration, ok bool) {
	b.used = max(0, b.used-now.Sub(b.at).Seconds()*perSecond)
	b.at = now
	if b.used+1 > float64(burst) {
		missing := b.used + 1 - float64(burst)
		return time.Duration(missing / perSecond * float64(time.Second)), false
	}
	b.used++
	return 0, true
}

// throttled takes one call's token from the rate limit.
func (s *Sandbox) throttled() (wait time.Duration, limited bool) {
	if s.opts.RatePerSecond == 0 {
		return 0, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	wait, ok := s.limit.take(s.now(), s.opts.RatePerSecond, s.opts.RateBurst)
	if !ok {
		s.stats.Throttled++
	}
	return wait, !ok
}

// writeThrottled answers 429 or 503. Retry-After is the configured time or what
// the bucket needs, whichever is longer, rounded up to whole seconds.
func (s *Sandbox) writeThrottled(w http.ResponseWriter, wait time.Duration) {
	wait = max(wait, s.opts.RetryAfter)
	seconds := int64((wait + time.Second - 1) / time.Second)
	value := strconv.FormatInt(seconds, 10)
	if s.opts.RetryAfterDate {
		// By the machine's clock: it is the client who reads the date. One second
		// more, because an HTTP date has no fractions.
		value = time.Now().Add(time.Duration(seconds+1) * time.Second).UTC().Format(http.TimeFormat)
	}
	w.Header().Set("Retry-After", value)
	writeError(w, s.opts.RateStatus, codeUnprocessable, "Rate limit exceeded.", nil)
}

// enter counts a data call of u in; leave must follow when ok.
func (s *Sandbox) enter(u *user) (ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opts.BusyAbove > 0 && u.running >= s.opts.BusyAbove {
		s.stats.Busy++
		return false
	}
	u.running++
	s.stats.MaxConcurrentPerUser = max(s.stats.MaxConcurrentPerUser, u.running)
	return true
}

func (s *Sandbox) leave(u *user) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u.running--
}
