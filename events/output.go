package events

import "time"

// Output is an event to be published. Make one with a New… constructor.
type Output struct {
	ID           string
	Type         string
	ConnectionID string // the CloudEvents subject
	CausationID  string
	ReplayID     string
	TraceParent  string
	TraceState   string
	Time         time.Time
	Data         []byte // the JSON of the data member
}

// AppendJSON appends o as structured CloudEvents JSON and returns the extended
// buffer. Data goes in byte for byte, copied once when dst has the room
// (see Size). The order of the members is fixed.
func (o Output) AppendJSON(dst []byte) []byte {
	w := openObject(dst)
	w.text("specversion", SpecVersion)
	w.text("id", o.ID)
	w.text("source", Source)
	w.text("type", o.Type)
	w.optional("subject", o.ConnectionID)
	w.time("time", o.Time)
	w.text("datacontenttype", ContentTypeJSON)
	w.text("dataschema", SchemaID(o.Type))
	w.optional("causationid", o.CausationID)
	w.optional("replayid", o.ReplayID)
	w.optional(HeaderTraceParent, o.TraceParent)
	w.optional(HeaderTraceState, o.TraceState)
	w.raw("data", o.Data)
	return w.close()
}

// Size returns an upper bound of the bytes AppendJSON appends, as long as the
// ids need no escaping, which those of this package never do.
func (o Output) Size() int {
	return 512 + len(o.ID) + len(o.Type)*2 + len(o.ConnectionID) + len(o.CausationID) + len(o.ReplayID) +
		len(o.TraceParent) + len(o.TraceState) + len(o.Data)
}

// UserID returns the user_id of the data, "" when there is none.
func (o Output) UserID() string {
	obj, fe := parseOwn(o.Data, "data")
	if fe != nil {
		return ""
	}
	f := fields{obj: obj}
	return f.text("user_id", MaxUserID)
}

// HeadersFor returns the headers an output is published with: content type,
// Nats-Msg-Id, connection id, and the trace.
func HeadersFor(o Output) map[string][]string {
	h := map[string][]string{
		HeaderContentType: {ContentTypeStructured},
		HeaderMsgID:       {o.ID},
	}
	for name, value := range map[string]string{
		HeaderConnectionID: o.ConnectionID, HeaderTraceParent: o.TraceParent, HeaderTraceState: o.TraceState,
	} {
		if value != "" {
			h[name] = []string{value}
		}
	}
	return h
}

// newOutput fills in what every output has. identity is what makes the event
// the same event when its cause is handled again; the type goes before it.
func newOutput(typ string, c Cause, connectionID string, data []byte, identity ...string) Output {
	return Output{
		ID:           UUIDv5(append([]string{typ}, identity...)...),
		Type:         typ,
		ConnectionID: connectionID,
		CausationID:  c.ID,
		ReplayID:     c.ReplayID,
		TraceParent:  c.TraceParent,
		TraceState:   c.TraceState,
		Time:         time.Now().UTC(),
		Data:         data,
	}
}

// openOutputData starts the data of an output with what all of them carry.
func openOutputData(dst []byte, connectionID, userID string) writer {
	w := openObject(dst)
	w.text("connection_id", connectionID)
	w.text("user_id", userID)
	return w
}
