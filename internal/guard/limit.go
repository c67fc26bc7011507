package guard

import (
	"math"
	"time"
)

// cutEvery is how often the limit is halved at most: the answers to what was under
// way when the server had enough come in one burst.
const cutEvery = time.Second

// limiter finds out how many calls at once a server stands: slowly from one after
// it was away, by doubling up to half of what went well before, then by about one a
// round; half of it when the server throttles. No lock: its owner holds one.
type limiter struct {
	bound   int     // never more; 0 = as many as come
	limit   float64 // at once now; infinite: as many as come
	half    float64 // up to here it grows by one a success
	ceiling float64 // from here on there is no limit, where there is no bound
	cutAt   time.Time
}

func newLimiter(bound int) limiter {
	if bound > 0 {
		return limiter{bound: bound, limit: float64(bound), half: float64(bound), ceiling: math.Inf(1)}
	}
	return limiter{limit: math.Inf(1), half: math.Inf(1), ceiling: math.Inf(1)}
}

// room reports whether one more may go out, with so many under way since it was
// closed last, and in total: what hangs since the time before holds nobody up as
// long as the bound allows.
func (l *limiter) room(current, total int) bool {
	return float64(current) < math.Floor(l.limit) && (l.bound == 0 || total < l.bound)
}

// succeeded raises the limit.
func (l *limiter) succeeded() {
	if l.limit < l.half {
		l.limit++
	} else {
		l.limit += 1 / l.limit
	}
	if l.bound > 0 {
		l.limit = min(l.limit, float64(l.bound))
	} else if l.limit >= l.ceiling {
		l.limit, l.ceiling = math.Inf(1), math.Inf(1)
	}
}

// cut halves the limit, to no less than one. peak is how many were under way at
// most, which is what was in force where there was no limit.
func (l *limiter) cut(now time.Time, peak int) {
	if !l.cutAt.IsZero() && now.Sub(l.cutAt) < cutEvery {
		return
	}
	l.cutAt = now
	was := l.limit
	if math.IsInf(was, 1) {
		was = float64(max(peak, 1))
		l.ceiling = was
	}
	l.limit = max(1, was/2)
	l.half = l.limit
}

// restart begins at one, after the server was away.
func (l *limiter) restart() { l.limit = 1 }

// shown is the limit as a metric, 0 where there is none.
func (l *limiter) shown() float64 {
	if math.IsInf(l.limit, 1) {
		return 0
	}
	return math.Floor(l.limit)
}
