package events

import "time"

// Envelope is an input event without its transport: the CloudEvents attributes
// and the raw JSON of the data member.
type Envelope struct {
	ID      string
	Source  string
	Type    string // the base name of the contract, without any prefix
	Subject string // the CloudEvents subject as given, often empty
	Time    time.Time

	TraceParent, TraceState string // W3C; empty when absent or not well-formed
	CausationID, ReplayID   string

	Data []byte // a valid JSON object
}

// Cause is what an output event carries on from the event that caused it.
type Cause struct{ ID, TraceParent, TraceState, ReplayID string }

// Cause returns e as the cause of other events.
func (e Envelope) Cause() Cause {
	return Cause{ID: e.ID, TraceParent: e.TraceParent, TraceState: e.TraceState, ReplayID: e.ReplayID}
}

// Headers returns the CloudEvents attributes of e as binary-mode headers.
// Publishing e.Data under them gives the same event again, with the same id,
// in any stream: what a redrive or replay of a bare message needs.
func (e Envelope) Headers() map[string][]string {
	h := map[string][]string{
		HeaderContentType: {ContentTypeJSON},
		"ce-specversion":  {SpecVersion},
		"ce-id":           {e.ID},
		"ce-source":       {e.Source},
		"ce-type":         {e.Type},
		"ce-time":         {formatTime(e.Time)},
	}
	for name, value := range map[string]string{
		"ce-subject": e.Subject, "ce-causationid": e.CausationID, "ce-replayid": e.ReplayID,
		HeaderTraceParent: e.TraceParent, HeaderTraceState: e.TraceState,
	} {
		if value != "" {
			h[name] = []string{value}
		}
	}
	return h
}
