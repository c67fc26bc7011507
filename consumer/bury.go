package consumer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/retry"
)

// storeWithin bounds one wait for the acknowledgement of a dead letter.
const storeWithin = 5 * time.Second

// bury stores the dead letter of the delivery and returns nil only when the
// server has acknowledged it. Its id names the original, so a second copy within
// the stream's dedupe window is none. Heartbeats go on meanwhile.
func (w *work) bury(ctx context.Context, class fault.Class, kept keepable) error {
	l := w.lane
	stop := w.keepAlive(l.cfg.DeadLetterTimeout + storeWithin)
	defer stop()
	ctx, cancel := outlive(ctx, settleGrace)
	defer cancel()
	letter := deadLetter{
		d: w.d, kept: kept.message, codec: l.cfg.Codec, class: class, text: kept.line,
		consumer: l.Durable, now: time.Now(),
	}
	js, withhold := l.cfg.JS, false
	policy := retry.Policy{Initial: 100 * time.Millisecond, Max: 2 * time.Second, Budget: l.cfg.DeadLetterTimeout, Jitter: 0.2}
	err := retry.Do(ctx, policy, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeWithin)
		defer cancel()
		var opts []jetstream.PublishOpt
		if l.cfg.DLQStream != "" {
			opts = append(opts, jetstream.WithExpectStream(l.cfg.DLQStream))
		}
		m := letter.message(js.Conn().MaxPayload(), withhold)
		ack, err := js.PublishMsg(ctx, m, opts...)
		if err == nil && ack.Duplicate && !letter.again && !w.isBuried(ctx, letter, m, ack) {
			letter.again = true
			_, err = js.PublishMsg(ctx, letter.message(js.Conn().MaxPayload(), withhold), opts...)
		}
		if err == nil {
			return nil
		}
		withhold = withhold || errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum) || errors.Is(err, nats.ErrMaxPayload)
		return fault.Transient(fault.NATS, err)
	}, nil)
	if err != nil {
		return fmt.Errorf("consumer: storing a dead letter: %w", err)
	}
	l.cfg.Metrics.buried(l.Name, class)
	return nil
}

// isBuried reports whether the dead letter that the stream took ours for a copy of
// is one of the same message. Where it cannot be read it is taken for that: without
// the right to read there, as before.
func (w *work) isBuried(ctx context.Context, letter deadLetter, own *nats.Msg, ack *jetstream.PubAck) bool {
	stored, err := w.lane.reader.get(ctx, ack.Stream, ack.Sequence)
	switch {
	case errors.Is(err, errGone):
		return true // redriven or discarded since
	case err != nil:
		w.lane.cfg.Logger.WarnContext(ctx, "a dead letter was taken for a copy of an earlier one, which could not be read", "lane", w.lane.Name,
			"stream", w.d.Stream, "sequence", w.d.Sequence, "dead_letter", ack.Sequence, "error", err)
		return true
	}
	return letter.isThatOf(stored, own)
}

// lastWordsPatience is how many times MaxAttempts a message is tried before its
// last words are given up as well.
const lastWordsPatience = 3

// lastWords lets the lane tell whoever waits for this message that nothing will
// come of it. It has the time that storing the dead letter has.
func (w *work) lastWords(ctx context.Context, class fault.Class, cause error) error {
	l := w.lane
	if l.LastWords == nil || w.speechless || class != fault.Exhausted && class != fault.Outage {
		return nil
	}
	stop := w.keepAlive(l.cfg.DeadLetterTimeout)
	defer stop()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.cfg.DeadLetterTimeout)
	defer cancel()
	err := l.LastWords(ctx, w.d, class, cause)
	if err == nil {
		return nil
	}
	if fault.Of(err) == fault.GiveUp || w.note.tries >= lastWordsPatience*l.MaxAttempts {
		// Nobody can be told. The dead letter says more than a message that
		// comes back for ever.
		l.cfg.Logger.ErrorContext(ctx, "a message is given up and nobody could be told", "lane", l.Name, "sequence", w.d.Sequence, "error", oneLine(err.Error()))
		return nil
	}
	return fmt.Errorf("consumer: saying that a message is given up: %w", err)
}

// keepable is what of a delivery may be kept and logged.
type keepable struct {
	message events.Message
	line    string // the error, one line
}

// redacted passes the message and the error through the lane's Redact, together:
// a careless error could quote what only the message shows to be a code.
func (w *work) redacted(err error) keepable {
	before, named, after := errorParts(err)
	if w.lane.Redact == nil {
		return keepable{w.d.Message, oneLine(before + named + after)}
	}
	message, texts := w.lane.Redact(w.d.Message, before, after)
	if len(texts) != 2 {
		texts = []string{"", ""}
	}
	return keepable{message, oneLine(texts[0] + named + texts[1])}
}

// errorParts returns the error as one line, in three parts. The middle one is a
// field error: it never quotes, and it may name a member that Redact would take
// for what it is there to hide: "code: missing".
func errorParts(err error) (before, named, after string) {
	if err == nil {
		return "", "", ""
	}
	line := oneLine(err.Error())
	if fe, ok := errors.AsType[*events.FieldError](err); ok {
		if head, tail, found := strings.Cut(line, fe.Error()); found {
			return head, fe.Error(), tail
		}
	}
	return line, "", ""
}
