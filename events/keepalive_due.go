package events

import "github.com/finx-connector/finx-connector/internal/fault"

// KeepAliveDue says that the refresh token of a connection is to be rotated, so
// that it does not end unused. The connector's own timers send it, and nobody else.
type KeepAliveDue struct {
	ConnectionID string `json:"connection_id"`
}

// DecodeKeepAliveDue reads the data of a keep-alive timer that came due.
func DecodeKeepAliveDue(e Envelope) (KeepAliveDue, error) {
	f, err := openData(e, TypeKeepAliveDue)
	if err != nil {
		return KeepAliveDue{}, err
	}
	d := KeepAliveDue{ConnectionID: f.connectionID(true)}
	if f.err != nil {
		return KeepAliveDue{}, refuse(fault.Malformed, e.Type, f.err)
	}
	return d, nil
}
