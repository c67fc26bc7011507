package events

import (
	"bytes"
	"strings"
)

// addTrace settles the attributes that may come from either place. The trace
// headers win over the attributes of the same name: they are the last hop's,
// the attributes may be as old as the event. A trace that is not well-formed is
// dropped, as W3C Trace Context demands, and never a reason to refuse an event.
// A replay may mark an event it publishes unchanged by headers alone.
func addTrace(e *Envelope, m Message) *FieldError {
	if v, ok := m.header(HeaderTraceParent); ok && isTraceParent(v) {
		e.TraceParent = v
		e.TraceState, _ = m.header(HeaderTraceState)
	}
	if !isTraceParent(e.TraceParent) {
		e.TraceParent, e.TraceState = "", ""
	}
	if !isTraceState(e.TraceState) {
		e.TraceState = ""
	}
	for _, a := range [...]struct {
		name  string
		value *string
	}{{"ce-causationid", &e.CausationID}, {"ce-replayid", &e.ReplayID}} {
		if v, ok := m.header(a.name); ok && *a.value == "" {
			if fe := checkText(a.name, v, MaxID); fe != nil {
				return fe
			}
			*a.value = v
		}
	}
	return nil
}

// TraceParent returns the well-formed traceparent header of m, "" without one. That
// of a structured event may be in its body instead: see Codec.OriginOf.
func (m Message) TraceParent() string {
	if v, ok := m.header(HeaderTraceParent); ok && isTraceParent(v) {
		return v
	}
	return ""
}

// TraceID returns the trace id of m's traceparent header, "" without one.
func (m Message) TraceID() string {
	if v := m.TraceParent(); v != "" {
		return v[3:35]
	}
	return ""
}

// Origin is where a message comes from.
type Origin struct {
	TraceParent, TraceState string // W3C; empty when absent or not well-formed
	Replayed                bool   // an operator had it handled again
}

// OriginOf returns what Parse would find, of a message that need not be a valid event:
// then it is what its headers say.
func (c Codec) OriginOf(m Message) Origin {
	o := Origin{TraceParent: m.TraceParent()}
	if o.TraceParent != "" {
		if v, ok := m.header(HeaderTraceState); ok && isTraceState(v) {
			o.TraceState = v
		}
	}
	id, _ := m.header("ce-replayid")
	o.Replayed = id != "" || isAgain(m)
	// Most events have it in their headers or not at all, and are parsed once only, by
	// whoever handles them.
	_, binary := m.header("ce-" + HeaderTraceParent)
	hidden := func(name string) bool { return bytes.Contains(m.Data, []byte(name)) }
	if (o.TraceParent != "" || !binary && !hidden(HeaderTraceParent)) && (o.Replayed || !hidden("replayid")) {
		return o
	}
	if e, err := c.Parse(m); err == nil {
		o = Origin{TraceParent: e.TraceParent, TraceState: e.TraceState, Replayed: o.Replayed || e.ReplayID != ""}
	}
	return o
}

// isAgain reports whether m has the message id of a replay or a redrive, which need
// not have a replayid.
func isAgain(m Message) bool {
	id, _ := m.header(HeaderMsgID)
	return strings.HasPrefix(id, "replay:") || strings.HasPrefix(id, "redrive:")
}

// isTraceParent reports whether s is version-traceid-parentid-flags in lower
// case hex with neither id all zero (W3C Trace Context, section 3.2). Later
// versions may have more behind the flags.
func isTraceParent(s string) bool {
	if len(s) < 55 || len(s) > 512 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	version, trace, parent, flags, rest := s[:2], s[3:35], s[36:52], s[53:55], s[55:]
	if !isHex(version) || !isHex(trace) || !isHex(parent) || !isHex(flags) || version == "ff" {
		return false
	}
	if strings.Trim(trace, "0") == "" || strings.Trim(parent, "0") == "" {
		return false
	}
	return rest == "" || (version != "00" && rest[0] == '-' && isVisibleASCII(rest))
}

func isTraceState(s string) bool { return len(s) <= 1024 && isVisibleASCII(s) }

func isHex(s string) bool {
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return true
}

func isVisibleASCII(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
