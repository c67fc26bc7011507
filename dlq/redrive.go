package dlq

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/retry"
)

// ErrDuplicate says that the stream already holds a message of that Nats-Msg-Id, so the
// event was not stored and nobody will handle it.
var ErrDuplicate = errors.New("the stream says duplicate: it was redriven in this run already, and was not stored again")

// Receipt is where a redriven event is stored.
type Receipt struct {
	Stream   string
	Sequence uint64
	// Kept reports that the event is stored and its dead letter could not be
	// deleted; the error says why. Discard the letter: redriving it again would
	// deliver the event a second time.
	Kept bool
}

// Redrive stores the event of a dead letter on its original subject and then
// deletes the letter. run names this run of redrives and must not be used
// again: it makes the Nats-Msg-Id new. Errors: ErrDuplicate, with the letter
// kept; one with Receipt.Kept; others when the event may not be stored, with the
// letter kept.
func (q *Queue) Redrive(ctx context.Context, e Event, run string) (Receipt, error) {
	seq := e.Letter.Sequence
	ack, err := q.publish(ctx, e, fmt.Sprintf("redrive:%d:%s", seq, run))
	if err != nil {
		return Receipt{}, fmt.Errorf("dlq: redriving dead letter %d: %w", seq, err)
	}
	r := Receipt{Stream: ack.Stream, Sequence: ack.Sequence}
	// From here on an interruption must not leave the letter behind.
	if err := q.remove(context.WithoutCancel(ctx), seq, false); err != nil && !errors.Is(err, ErrNotFound) {
		r.Kept = true
		return r, fmt.Errorf("dlq: deleting dead letter %d after its event was stored: %w", seq, err)
	}
	return r, nil
}

// publish stores the event. An attempt without an answer may have stored it:
// a duplicate after one is ours.
func (q *Queue) publish(ctx context.Context, e Event, id string) (*jetstream.PubAck, error) {
	m := &nats.Msg{Subject: e.subject, Header: nats.Header{}, Data: e.data}
	maps.Copy(m.Header, e.header)
	m.Header.Set(events.HeaderMsgID, id)
	var ack *jetstream.PubAck
	unanswered := false
	err := retry.Do(ctx, retry.Policy{Budget: q.cfg.PublishBudget, Jitter: 0.2}, func(ctx context.Context) error {
		// An interruption waits for the answer: without it the letter would stay behind
		// while its event is stored.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), q.cfg.Timeout)
		defer cancel()
		got, err := q.cfg.JS.PublishMsg(ctx, m)
		switch {
		case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
			return fault.Transient(fault.NATS, fmt.Errorf("no stream takes %s (missing, or electing a leader): %w", e.subject, err))
		case err != nil:
			unanswered = true
			return judge(err)
		case got.Duplicate && !unanswered:
			return fault.Permanent(fault.Rejected, ErrDuplicate)
		}
		ack = got
		return nil
	}, nil)
	return ack, err
}

// Discard deletes a dead letter and overwrites it in the store, since its body
// may be personal data. The original stays where it is. Errors: ErrNotFound.
func (q *Queue) Discard(ctx context.Context, sequence uint64) error {
	if err := q.remove(ctx, sequence, true); err != nil {
		return fmt.Errorf("dlq: discarding dead letter %d: %w", sequence, err)
	}
	return nil
}

func (q *Queue) remove(ctx context.Context, sequence uint64, overwrite bool) error {
	ctx, cancel := context.WithTimeout(ctx, q.cfg.Timeout)
	defer cancel()
	s, err := q.cfg.JS.Stream(ctx, q.cfg.Stream)
	if err != nil {
		return judge(err)
	}
	if overwrite {
		err = s.SecureDeleteMsg(ctx, sequence)
	} else {
		err = s.DeleteMsg(ctx, sequence)
	}
	if err != nil && q.gone(ctx, s, sequence) {
		return ErrNotFound
	}
	return judge(err)
}

// gone reports whether the stream has no such message: the broker refuses to
// delete one in words that differ by version.
func (q *Queue) gone(ctx context.Context, s jetstream.Stream, sequence uint64) bool {
	_, err := s.GetMsg(ctx, sequence)
	return errors.Is(err, jetstream.ErrMsgNotFound)
}
