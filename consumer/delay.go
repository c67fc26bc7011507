package consumer

import "time"

const (
	// shutdownDelay gives the process time to be gone before its messages come
	// back, which would otherwise be to itself.
	shutdownDelay = time.Second
	// minDelay keeps a wait that is over already from becoming a busy loop.
	minDelay = time.Second
	// crowdedWait is the shortest wait that is parked when the consumer is crowded: a
	// schedule is kept to the second.
	crowdedWait = 2 * time.Second
	// busyDelay and busyDelayMax are the waits of what finds no room. Short, as room
	// comes and goes in seconds; growing, as thousands may come due at once; with
	// jitter never less than crowdedWait, as those must not fill the consumer.
	busyDelay    = 2 * crowdedWait
	busyDelayMax = 15 * time.Second
	// maxSpread bounds what is added to a wait so that messages that were told the
	// same time do not come back together.
	maxSpread = 5 * time.Second
)

// maxWait is the longest wait left to the consumer in one answer, when it cannot
// be parked. A delayed message counts against MaxAckPending and its delay is lost
// with the consumer, so a long wait is taken in pieces.
const maxWait = 15 * time.Minute

// backoff returns the wait of the given step, from 1: first, doubled each step,
// at most longest.
func backoff(step int, first, longest time.Duration) time.Duration {
	d := first
	for ; step > 1 && d < longest; step-- {
		d *= 2
	}
	return min(d, longest)
}

// jittered returns a delay between half of d and d, by jitter in [0, 1).
func jittered(d time.Duration, jitter float64) time.Duration {
	return d/2 + time.Duration(float64(d/2)*jitter)
}

// waitDelay is the delay of an answer to "not before": never less than wait.
func waitDelay(wait time.Duration, jitter float64) time.Duration {
	wait = max(wait, minDelay)
	spread := min(wait/10, maxSpread)
	return wait + time.Duration(float64(spread)*jitter)
}
