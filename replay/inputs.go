package replay

import (
	"context"

	"github.com/nats-io/nats.go"

	"github.com/finx-connector/finx-connector/events"
)

// inputs reads the stored input events.
type inputs struct {
	*Replayer

	id    string
	req   Request
	known *known
}

func (n *inputs) each(ctx context.Context, at position, planning bool, fn func(item) error) error {
	_, subjects := n.inputSubjects(n.req.Selection)
	if planning {
		n.known.begin()
	}
	for _, span := range at.Spans {
		q := query{span: span, subjects: subjects[span.Stream]}
		err := n.walk(ctx, q, func(m events.Message) error {
			it, chosen, err := n.choose(ctx, m, planning)
			if err != nil || !chosen {
				return err
			}
			return fn(it)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (n *inputs) choose(ctx context.Context, m events.Message, planning bool) (item, bool, error) {
	typ, ok := n.cfg.Codec.TypeOf(m.Subject)
	if !ok || !events.IsInput(typ) {
		return item{}, false, nil // another team's
	}
	s := n.req.Selection
	if in, err := s.within(m); !in {
		return item{}, false, err
	}
	it := item{
		typ: typ, stream: m.Stream, sequence: m.Sequence, stored: m.Time, bytes: len(m.Data), id: messageID(n.id, m.Stream, m.Sequence),
	}
	again, env, err := n.cfg.Codec.Republish(m)
	a := assessment{skip: skipMalformed}
	if err == nil {
		if !planning {
			n.known.begin() // what was true of the record a while ago may not be now
		}
		if a, err = n.assess(ctx, env, m.Time); err != nil {
			return item{}, false, err
		}
	}
	if s.Connection != "" && a.connection != s.Connection || s.User != "" && a.user != s.User {
		return item{}, false, nil
	}
	it.connection, it.skip, it.done, it.calls = a.connection, a.skip, a.done, a.calls
	if isCopy(m) {
		it.skip = skipCopy
	}
	if it.skip != "" {
		it.calls = 0
	}
	it.message = func() (*nats.Msg, error) {
		out := &nats.Msg{Subject: again.Subject, Header: again.Header, Data: again.Data}
		out.Header[events.HeaderReplayID] = []string{n.id}
		return out, nil
	}
	return it, true, nil
}
