package replay

import (
	"context"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/finx-connector/finx-connector/events"
)

// outputs reads the stored output events.
type outputs struct {
	*Replayer

	id  string
	req Request
}

func (o *outputs) each(ctx context.Context, at position, planning bool, fn func(item) error) error {
	s := o.req.Selection
	for _, span := range at.Spans {
		q := query{span: span, subjects: o.outputSubjects(s), headersOnly: planning && !needsBodies(o.req)}
		err := o.walk(ctx, q, func(m events.Message) error {
			it, chosen, err := o.choose(m, q.headersOnly)
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

// needsBodies reports whether a plan has to read bodies: the user of an event is
// in it and nowhere else.
func needsBodies(q Request) bool { return q.Mode == Inputs || q.Selection.User != "" }

func (o *outputs) choose(m events.Message, headersOnly bool) (item, bool, error) {
	typ, ok := o.cfg.Codec.TypeOf(m.Subject)
	if !ok || !events.IsOutput(typ) {
		return item{}, false, nil // another team's
	}
	s := o.req.Selection
	if in, err := s.within(m); !in {
		return item{}, false, err
	}
	it := item{
		typ: typ, stream: m.Stream, sequence: m.Sequence, stored: m.Time, bytes: sizeOf(m, headersOnly),
		connection: connectionOf(m), data: m.Data, id: messageID(o.id, m.Stream, m.Sequence),
	}
	if s.Connection != "" && it.connection != s.Connection {
		return item{}, false, nil
	}
	if s.User != "" {
		e, err := events.ParseOutput(m)
		if err != nil || e.UserID() != s.User {
			return item{}, false, nil //nolint:nilerr // what cannot be read is nobody's
		}
	}
	switch {
	case !events.HasConnection(typ):
		it.skip = skipAudit
	case isCopy(m):
		it.skip = skipCopy
	}
	it.message = func() (*nats.Msg, error) { return o.copyOf(m) }
	return it, true, nil
}

// copyOf returns an event as it is published again: nothing but the mark of the
// replay is another.
func (o *outputs) copyOf(m events.Message) (*nats.Msg, error) {
	data, err := events.WithReplayID(m.Data, o.id)
	if err != nil {
		return nil, err
	}
	out := &nats.Msg{Subject: m.Subject, Header: events.PublishedHeaders(m.Header), Data: data}
	if o.req.To != "" {
		out.Subject = o.req.To
	}
	out.Header[events.HeaderReplayID] = []string{o.id}
	return out, nil
}

// connectionOf returns the connection of an output: its header, or the end of
// its subject.
func connectionOf(m events.Message) string {
	if id := header(m, events.HeaderConnectionID); id != "" {
		return id
	}
	if last := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]; events.IsUUID(last) {
		return last
	}
	return ""
}

// headerSize is the size of a body that was left out.
const headerSize = "Nats-Msg-Size"

func sizeOf(m events.Message, headersOnly bool) int {
	if !headersOnly {
		return len(m.Data)
	}
	n, err := strconv.Atoi(header(m, headerSize))
	if err != nil {
		return 0
	}
	return n
}
