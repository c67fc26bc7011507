package consumer

import (
	"sync"
	"time"
)

// inFlight is the deliveries of a lane that are being handled.
type inFlight struct {
	mu     sync.Mutex
	next   uint64
	stored map[uint64]time.Time // when each message was stored
}

func newInFlight() *inFlight { return &inFlight{stored: map[uint64]time.Time{}} }

// add returns the function that takes the delivery out again.
func (f *inFlight) add(stored time.Time) (remove func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next++
	key := f.next // not the sequence: a late redelivery may overlap its predecessor
	f.stored[key] = stored
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.stored, key)
	}
}

func (f *inFlight) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.stored)
}

// oldest returns the age of the oldest message, 0 when there is none.
func (f *inFlight) oldest(now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	var age time.Duration
	for _, t := range f.stored {
		age = max(age, now.Sub(t))
	}
	return age
}
