package events

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// HeaderReplayID marks a replayed message, whatever form its event has.
const HeaderReplayID = "ce-replayid"

// WithReplayID returns a structured event with the attribute replayid set to id,
// and no other byte changed. The attribute stands where AppendJSON writes it:
// before the trace and the data. One that is there already gets the new value.
//
// event is not changed. Errors: Malformed, when event is no JSON object.
func WithReplayID(event []byte, id string) ([]byte, error) {
	p, fe := findReplayID(event)
	if fe != nil {
		return nil, refuse(fault.Malformed, "an output event", fe)
	}
	value := appendString(nil, id)
	switch {
	case p.value[1] > 0:
		return slices.Concat(event[:p.value[0]], value, event[p.value[1]:]), nil
	case p.first: // nothing to stand behind
		return slices.Concat(event[:p.at], []byte(`"replayid":`), value, []byte(p.comma), event[p.at:]), nil
	}
	return slices.Concat(event[:p.at], []byte(`,"replayid":`), value, event[p.at:]), nil
}

// place is where a replayid is, or belongs.
type place struct {
	value [2]int // of the value that is there; zero when there is none
	at    int    // behind the member that goes before it
	first bool   // there is no such member: at is behind the opening brace
	comma string // what a first member needs behind it
}

// findReplayID reads the members of an event once. What finX may nest, repeat or
// misspell inside the data is not looked at.
func findReplayID(event []byte) (place, *FieldError) {
	if bytes.HasPrefix(event, []byte("\ufeff")) {
		return place{}, problem("data", "begins with a byte order mark, which no output has")
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(event), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if d.PeekKind() != jsontext.KindBeginObject {
		return place{}, problem("data", "must be a JSON object")
	}
	if _, err := d.ReadToken(); err != nil {
		return place{}, syntaxProblem(event, "data", err)
	}
	p, settled := place{at: int(d.InputOffset()), first: true}, false
	for d.PeekKind() != jsontext.KindEndObject {
		name, err := d.ReadToken()
		if err != nil {
			return place{}, syntaxProblem(event, "data", err)
		}
		key := name.String()
		value, err := d.ReadValue()
		if err != nil {
			return place{}, syntaxProblem(event, "data", err)
		}
		end := int(d.InputOffset())
		switch key {
		case "replayid":
			p.value = [2]int{end - len(value), end}
		case HeaderTraceParent, HeaderTraceState, "data":
			settled = true
		}
		if p.comma = ","; !settled {
			p.at, p.first = end, false
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return place{}, syntaxProblem(event, "data", err)
	}
	if rest := bytes.TrimSpace(event[d.InputOffset():]); len(rest) > 0 {
		return place{}, problem("data", "more data after the object, at byte %d", d.InputOffset())
	}
	return p, nil
}
