package events

import (
	"maps"
	"strings"
)

// PublishedHeaders returns the headers that a stored message had when it was
// published, but for those that speak to the server (Nats-Msg-Id, expectations,
// TTLs), which were answered once, and those of a dead letter. The values are
// shared with h.
func PublishedHeaders(h map[string][]string) map[string][]string {
	out := map[string][]string{}
	for name, values := range h {
		if lower := strings.ToLower(name); !strings.HasPrefix(lower, "nats-") && !strings.HasPrefix(lower, "dlq-") {
			out[name] = values
		}
	}
	return out
}

// Republish returns a stored input as it has to be published to be the same
// event once more, whichever stream takes it: a new message id will not change
// the event's own, also where that was the old message id or the message's place
// in its stream, and the age of a code is still counted from where it was. The
// caller adds the Nats-Msg-Id.
//
// Subject, Header and Data of the result are set. A body that cannot be read goes
// out as it is; the error is that of Parse, and the envelope is then empty.
func (c Codec) Republish(m Message) (Message, Envelope, error) {
	out := Message{Subject: m.Subject, Header: PublishedHeaders(m.Header), Data: m.Data}
	if typ, ok := c.TypeOf(m.Subject); ok && len(out.Subject) > MaxSubject {
		out.Subject = c.Subject(typ) // the tokens behind say nothing to the connector
	}
	env, err := c.Parse(m)
	if err != nil || c.carries(m, out.Header, env) {
		return out, env, err
	}
	own := env.Headers()
	maps.DeleteFunc(out.Header, func(name string, _ []string) bool { return namedIn(own, name) })
	maps.Copy(out.Header, own)
	out.Data = env.Data
	return out, env, nil
}

// carries reports whether a message says its id and time itself, wherever and
// whenever it is stored.
func (c Codec) carries(m Message, header map[string][]string, e Envelope) bool {
	env, err := c.Parse(Message{Subject: m.Subject, Header: header, Data: m.Data})
	return err == nil && env.ID == e.ID && env.Time.Equal(e.Time)
}

// namedIn reports whether h has a header of that name, in any case.
func namedIn(h map[string][]string, name string) bool {
	for n := range h {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}
