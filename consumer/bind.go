package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// bindWithin bounds one request for the consumer's info. A refused request is
// answered by silence, so this is also how long a missing permission takes to
// show.
const bindWithin = 5 * time.Second

// fetchBeats is how many heartbeats fit into one open pull: one a second.
const fetchBeats = fetchWait / fetchHeartbeat

// errAckPolicy says that the consumer's answers would mean nothing.
var errAckPolicy = errors.New("consumer: binding: the consumer does not want explicit acknowledgements")

// binding is a consumer as the server described it a moment ago.
type binding struct {
	consumer  jetstream.Consumer
	at        time.Time
	heartbeat time.Duration // between two InProgress
	fetchWait time.Duration
	maxBatch  int    // most messages in one pull
	paused    string // until when, "" when it is not
}

// bind asks for the consumer and reads from its configuration what the lane must
// keep to. It creates and changes nothing.
func (l *lane) bind(ctx context.Context) (*binding, error) {
	ctx, cancel := context.WithTimeout(ctx, bindWithin)
	defer cancel()
	cons, err := l.cfg.JS.Consumer(ctx, l.Stream, l.Durable)
	if err != nil {
		return nil, fmt.Errorf("consumer: binding: %w", err)
	}
	info := cons.CachedInfo()
	if info.Config.AckPolicy != jetstream.AckExplicitPolicy {
		return nil, errAckPolicy
	}
	l.crowd.bound(cons, info)
	l.backlog.note(cons, info)
	b := &binding{consumer: cons, at: time.Now(), fetchWait: fetchWait, maxBatch: l.Slots}
	b.heartbeat = heartbeatEvery(info.Config, l.AckWait)
	if n := info.Config.MaxRequestBatch; n > 0 {
		b.maxBatch = min(b.maxBatch, n)
	}
	if d := info.Config.MaxRequestExpires; d > 0 {
		b.fetchWait = min(b.fetchWait, d)
	}
	if info.Paused {
		b.paused = info.TimeStamp.Add(info.PauseRemaining).UTC().Format(time.RFC3339)
	}
	return b, nil
}

// heartbeatEvery is a third of the shortest time after which the server would
// deliver again. A BackOff takes the place of AckWait, attempt by attempt.
func heartbeatEvery(cfg jetstream.ConsumerConfig, limit time.Duration) time.Duration {
	wait := cfg.AckWait
	for _, d := range cfg.BackOff {
		wait = min(wait, d)
	}
	if limit > 0 {
		wait = min(wait, limit)
	}
	return max(wait/3, time.Millisecond)
}

// explain says in words an operator can act on why a lane cannot take work.
func (l *lane) explain(err error) string {
	conn := l.cfg.JS.Conn()
	who := fmt.Sprintf("consumer %s on %s", l.Durable, l.Stream)
	const apply = "run `finx-connector streams apply`"
	switch {
	case conn.IsClosed():
		return "the NATS connection is closed for good: the process must be restarted"
	case !conn.IsConnected():
		return "not connected to NATS, reconnecting"
	case errors.Is(err, errAckPolicy):
		return who + " does not have ack policy explicit: delete it and " + apply
	case errors.Is(err, jetstream.ErrNotPullConsumer):
		return who + " is not a pull consumer: delete it and " + apply
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Sprintf("stream %s is missing: %s", l.Stream, apply)
	case errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrConsumerDeleted),
		errors.Is(err, jetstream.ErrConsumerDoesNotExist):
		return fmt.Sprintf("consumer %s missing on %s: %s", l.Durable, l.Stream, apply)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return "JetStream is not enabled for this NATS account"
	}
	if refused := l.refusal(err, conn); refused != "" {
		return "the NATS user lacks a permission: " + refused
	}
	switch {
	case errors.Is(err, jetstream.ErrNoHeartbeat), errors.Is(err, nats.ErrNoResponders), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, jetstream.ErrConsumerLeadershipChanged), errors.Is(err, jetstream.ErrServerShutdown):
		return who + " does not answer: no leader elected yet, JetStream down, or not permitted"
	}
	return oneLine(who + ": " + err.Error())
}

// refusal returns what the server last refused when it is this consumer's API and
// err is the silence that follows a refusal. The server names the refused subject
// only in an asynchronous error, which the connection remembers.
func (l *lane) refusal(err error, conn *nats.Conn) string {
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, jetstream.ErrNoHeartbeat) {
		return ""
	}
	return refusedSubject(conn, "."+l.Stream+"."+l.Durable)
}
