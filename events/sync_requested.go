package events

import (
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// MaxReason is the length of the free text of a sync request.
const MaxReason = 256

// Trigger says what asked for a fetch.
const (
	TriggerCallback = "callback"
	TriggerSchedule = "schedule"
	TriggerRequest  = "request"
	TriggerReplay   = "replay"
)

// SyncRequested asks for a fetch of one connection.
type SyncRequested struct {
	ConnectionID string `json:"connection_id"`
	Since        string `json:"since,omitempty"` // YYYY-MM-DD, "" = where the last fetch ended
	// Until is the last day, YYYY-MM-DD; it counts only with a Since that is not
	// after it. "" = today.
	Until  string `json:"until,omitempty"`
	Full   bool   `json:"full,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Trigger is set by the connector itself on the requests it sends; "" on
	// requests from outside, which count as TriggerRequest.
	Trigger string `json:"trigger,omitempty"`
}

// DecodeSyncRequested reads the data of a transactions.sync.requested.
func DecodeSyncRequested(e Envelope) (SyncRequested, error) {
	f, err := openData(e, TypeSyncRequested)
	if err != nil {
		return SyncRequested{}, err
	}
	s := SyncRequested{
		ConnectionID: f.connectionID(true),
		Since:        f.date("since"),
		Until:        f.date("until"),
		Reason:       f.text("reason", MaxReason),
		Trigger:      f.trigger(),
	}
	if full := f.boolean("full"); full != nil {
		s.Full = *full
	}
	if f.err != nil {
		return SyncRequested{}, refuse(fault.Malformed, e.Type, f.err)
	}
	return s, nil
}

// trigger reads the trigger. It is a member of our own that upstream does not
// know of, so a stranger's meaning of the name is skipped like an unknown member.
func (f *fields) trigger() string {
	v, ok := f.value("trigger")
	if !ok || v.Kind() != jsontext.KindString {
		return ""
	}
	switch s := unquote(v); s {
	case TriggerCallback, TriggerSchedule, TriggerRequest, TriggerReplay:
		return s
	}
	return ""
}

// connectionID reads a connection id. Only the canonical form is taken, as it
// becomes part of subjects, keys and paths.
func (f *fields) connectionID(required bool) string {
	const name = "connection_id"
	id := f.text(name, MaxUserID)
	if id == "" {
		if required {
			f.failf(name, "missing")
		}
		return ""
	}
	if !IsUUID(id) {
		f.failf(name, "must be a UUID in lower case")
		return ""
	}
	return id
}

// date reads a calendar date.
func (f *fields) date(name string) string {
	s := f.text(name, MaxReason)
	if s == "" {
		return ""
	}
	if _, err := time.Parse(time.DateOnly, s); err != nil {
		f.failf(name, "must be a date like 2026-01-31")
		return ""
	}
	return s
}
