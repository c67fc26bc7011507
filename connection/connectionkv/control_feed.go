package connectionkv

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// pace is how a watch tells that it is alive.
type pace struct {
	beat    time.Duration // the broker says so this often when nothing else is to be said
	compare time.Duration // and this often the leader is asked whether nothing was missed
}

// stalled is how many beats may be missed.
const stalled = 3

func defaultPace() pace { return pace{beat: 3 * time.Second, compare: 15 * time.Second} }

// change is what a feed says of one key. live is false when it has no value any
// more: deleted, purged or run out of its TTL; then purged tells a purge, which
// is how this package deletes, from the others.
type change struct {
	key          string
	value        []byte
	revision     uint64
	live, purged bool
}

// feed is a subscription to the changes of keys, the newest value of each first.
//
// It is not jetstream.KeyValue's watch, because that one heals itself in silence:
// when its consumer cannot be made again it stays dead, and the reader hears
// nothing and believes that nothing has changed. A feed that is not told
// something every few seconds, or finds a message missing, ends with an error.
type feed struct {
	sub       *nats.Subscription
	prefix    string // of subjects, before the key
	patience  time.Duration
	initial   uint64 // messages that were there at the start
	delivered uint64 // messages the broker has sent us, by its own count
}

// follow opens a feed of the keys that match pattern. The consumer behind it goes
// away by itself a few seconds after the reader.
func (b bucket) follow(ctx context.Context, pattern string, beat time.Duration) (*feed, error) {
	conn := b.js.Conn()
	inbox := conn.NewInbox()
	sub, err := conn.SubscribeSync(inbox)
	if err != nil {
		return nil, judgeRead(err)
	}
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	consumer, err := b.js.CreatePushConsumer(ctx, "KV_"+b.name, jetstream.ConsumerConfig{
		DeliverSubject: inbox, FilterSubject: b.keySubject(pattern),
		DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, AckPolicy: jetstream.AckNonePolicy, MaxDeliver: 1,
		IdleHeartbeat: beat, MemoryStorage: true, Replicas: 1,
	})
	if err != nil {
		_ = sub.Unsubscribe()
		return nil, judgeRead(err)
	}
	return &feed{sub: sub, prefix: b.keySubject(""), patience: stalled * beat, initial: consumer.CachedInfo().NumPending}, nil
}

func (f *feed) stop() { _ = f.sub.Unsubscribe() } // an error says that it is stopped already

// next waits for the next change. idle means that there is none, and that the
// broker knows of none. Any error ends the feed, but for the end of ctx the
// caller's own.
func (f *feed) next(ctx context.Context) (c change, idle bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, f.patience, fmt.Errorf("no heartbeat within %s", f.patience))
	defer cancel()
	m, err := f.sub.NextMsgWithContext(ctx)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return change{}, false, judgeRead(err)
	}
	if m.Header.Get("Status") != "" {
		return change{}, true, f.heartbeat(m)
	}
	meta, err := m.Metadata()
	if err != nil {
		return change{}, false, judgeRead(err)
	}
	if meta.Sequence.Consumer != f.delivered+1 {
		return change{}, false, lostMessages(f.delivered, meta.Sequence.Consumer)
	}
	f.delivered++
	operation := m.Header.Get("KV-Operation")
	return change{
		key: strings.TrimPrefix(m.Subject, f.prefix), value: m.Data, revision: meta.Sequence.Stream,
		live: operation == "" && m.Header.Get(jetstream.MarkerReasonHeader) == "", purged: operation == "PURGE",
	}, false, nil
}

// heartbeat compares the broker's count of messages with ours.
func (f *feed) heartbeat(m *nats.Msg) error {
	const idleHeartbeat = "100"
	if status := m.Header.Get("Status"); status != idleHeartbeat {
		return judgeRead(fmt.Errorf("the broker ended the watch: %s %s", status, m.Header.Get("Description")))
	}
	sent, err := strconv.ParseUint(m.Header.Get("Nats-Last-Consumer"), 10, 64)
	if err != nil {
		return judgeRead(errors.New("a heartbeat without a count"))
	}
	if sent != f.delivered {
		return lostMessages(f.delivered, sent)
	}
	return nil
}

func lostMessages(have, want uint64) error {
	return judgeRead(fmt.Errorf("messages were lost: have %d, the broker is at %d", have, want))
}
