package consumer

import (
	"math"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A message that waits and cannot be read has no age: neither none, nor that of one
// that has been settled since.
func TestAgeOfWhatCannotBeRead(t *testing.T) {
	now := time.Now()
	info := func(floor, pending uint64) *jetstream.ConsumerInfo {
		return &jetstream.ConsumerInfo{NumPending: pending, AckFloor: jetstream.SequenceInfo{Stream: floor}}
	}
	var b backlog
	b.note(nil, info(4, 0))
	if got := b.get(now).oldest; got != 0 {
		t.Errorf("nothing waits and is %v s old", got)
	}
	b.note(nil, info(4, 1))
	b.unread()
	if got := b.get(now).oldest; !math.IsNaN(got) {
		t.Errorf("what could not be read is %v s old", got)
	}
	b.oldest, b.sequence, b.known = now.Add(-time.Minute), 5, true
	b.note(nil, info(4, 2))
	b.unread()
	if got := b.get(now).oldest; got != 60 {
		t.Errorf("what still waits is %v s old, want 60", got)
	}
	b.note(nil, info(5, 1))
	b.unread()
	if got := b.get(now).oldest; !math.IsNaN(got) {
		t.Errorf("after another was settled, what could not be read is %v s old", got)
	}
}
