package replay

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/retry"
)

// publish stores a message in exactly that stream, again under its id while the
// broker is away. An attempt without an answer may have stored it: a duplicate
// after one is ours, and the ack does not call it one.
//
// When ctx ends, the attempt that is under way is waited for, and no other made.
func (r *Replayer) publish(ctx context.Context, msg *nats.Msg, stream string) (*jetstream.PubAck, error) {
	msg.Header[jetstream.ExpectedStreamHeader] = []string{stream}
	var ack *jetstream.PubAck
	unanswered := false
	err := retry.Do(ctx, r.policy, func(ctx context.Context) error {
		attempt, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.Timeout)
		defer cancel()
		got, err := r.cfg.JS.PublishMsg(attempt, msg, jetstream.WithRetryAttempts(0)) // the waits between attempts are ours
		if err = r.judgeWrite(msg.Subject, err); err != nil {
			unanswered = unanswered || fault.IsAmbiguous(err)
			return err
		}
		if ack = got; unanswered {
			ack.Duplicate = false
		}
		return nil
	}, nil)
	return ack, err
}

// pace holds back what would be faster than a rate.
type pace struct {
	every time.Duration
	next  time.Time
}

func newPace(rate float64) *pace {
	every := min(float64(time.Second)/rate, float64(24*time.Hour)) // a longer one may leave the range of a duration
	return &pace{every: time.Duration(every), next: time.Now()}
}

// wait waits for the turn of the next message. Time that was lost is not made up for.
func (p *pace) wait(ctx context.Context) error {
	now := time.Now()
	if p.next.Before(now.Add(-p.every)) {
		p.next = now
	}
	delay := p.next.Sub(now)
	p.next = p.next.Add(p.every)
	if delay <= 0 {
		return nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// findSent looks for the copies that an earlier run published after its last
// checkpoint: in each stream it publishes to, behind the last one that is
// counted. The broker's own memory of message ids is too short for this. It
// returns up to which sequence of each stream the messages were sent: they were
// sent in order.
func (j *Job) findSent(ctx context.Context) (map[string]uint64, error) {
	sent := map[string]uint64{}
	if j.cp.Request.Mode == Refetch {
		return sent, nil // an id of its own, and a fetch that is done is not made again
	}
	for stream, counted := range j.cp.Acked {
		info, err := j.r.state(ctx, stream)
		if err != nil {
			return nil, err
		}
		q := query{span: Span{Stream: stream, From: counted + 1, To: info.State.LastSeq}, subjects: j.targets(stream), headersOnly: true}
		err = j.r.walk(ctx, q, func(m events.Message) error {
			if from, sequence, ok := ofReplay(m, j.cp.ID); ok {
				sent[from] = max(sent[from], sequence)
			}
			return ctx.Err()
		})
		if err != nil {
			return nil, err
		}
	}
	return sent, nil
}

// targets are the subjects under which copies are stored in a stream.
func (j *Job) targets(stream string) []string {
	req := j.cp.Request
	switch {
	case req.To != "":
		return []string{">"} // the stream may keep it under another subject than it came on
	case req.Mode == Inputs:
		_, subjects := j.r.inputSubjects(req.Selection)
		return subjects[stream]
	}
	return j.r.outputSubjects(req.Selection)
}

// ofReplay reads the message id of a copy.
func ofReplay(m events.Message, replayID string) (stream string, sequence uint64, ok bool) {
	rest, ok := strings.CutPrefix(header(m, events.HeaderMsgID), idPrefix+replayID+":")
	if !ok {
		return "", 0, false
	}
	at := strings.LastIndexByte(rest, ':')
	if at < 0 {
		return "", 0, false
	}
	sequence, err := strconv.ParseUint(rest[at+1:], 10, 64)
	return rest[:at], sequence, err == nil
}
