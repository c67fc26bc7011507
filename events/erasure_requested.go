package events

import "github.com/finx-connector/finx-connector/internal/fault"

// ErasureRequested asks to erase one connection, or all of one user. With both
// fields the connection must be the user's.
type ErasureRequested struct {
	UserID       string `json:"user_id,omitempty"`
	ConnectionID string `json:"connection_id,omitempty"`
}

// DecodeErasureRequested reads the data of a user.erasure.requested.
func DecodeErasureRequested(e Envelope) (ErasureRequested, error) {
	f, err := openData(e, TypeErasureRequested)
	if err != nil {
		return ErasureRequested{}, err
	}
	r := ErasureRequested{
		UserID:       f.text("user_id", MaxUserID),
		ConnectionID: f.connectionID(false),
	}
	if r.UserID == "" && r.ConnectionID == "" {
		f.failf("user_id", "missing, and so is connection_id: one of them is needed")
	}
	if f.err != nil {
		return ErasureRequested{}, refuse(fault.Malformed, e.Type, f.err)
	}
	return r, nil
}
