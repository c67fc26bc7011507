package events

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// Limits of a callback, in characters.
const (
	MaxCode        = 128 << 10 // codes are opaque and of any length, JWTs among them
	MaxFlowID      = 256
	MaxCallbackURL = 512 << 10
	maxCancel      = 256
)

// CallbackReceived is what finX sent the browser back with.
type CallbackReceived struct {
	State     string
	Success   bool
	Code      secret.Text // zero unless finX gave one; a renewal may succeed without
	Cancelled bool        // cancel or abort was there and not false
	FlowID    string
}

// DecodeCallbackReceived reads the data of a callback.received: members of
// their own, or one callback_url that carries them in its query, or both if
// they agree. Without success, a cancelled callback did not succeed and one
// with a code did. A success cannot be cancelled. Whether it may lack a code
// depends on the link (finX need not give one when it renews an access), so
// that is left to whoever knows the state.
func DecodeCallbackReceived(e Envelope) (CallbackReceived, error) {
	f, err := openData(e, TypeCallbackReceived)
	if err != nil {
		return CallbackReceived{}, err
	}
	v := callbackMembers(f)
	if raw := f.text("callback_url", MaxCallbackURL); raw != "" && f.err == nil {
		q, fe := callbackQuery(raw)
		if fe == nil {
			v, fe = v.merge(q)
		}
		f.err = fe
	}
	c, fe := v.callback()
	if f.err != nil {
		fe = f.err // a field that could not be read explains what follows from it
	}
	if fe != nil {
		return CallbackReceived{}, refuse(fault.Malformed, e.Type, fe)
	}
	return c, nil
}

// callbackValues are the parameters of a callback, wherever they came from.
// Absent is "" or nil.
type callbackValues struct {
	state, code, flowID string
	success, cancelled  *bool
}

func callbackMembers(f *fields) callbackValues {
	v := callbackValues{
		state:     f.text("state", MaxState),
		success:   f.boolean("success"),
		code:      f.text("code", MaxCode),
		cancelled: f.flag("cancel"),
		flowID:    f.text("flow_id", MaxFlowID),
	}
	if abort := f.flag("abort"); v.cancelled == nil || (abort != nil && *abort) {
		v.cancelled = abort
	}
	return v
}

// callback draws the conclusions.
func (v callbackValues) callback() (CallbackReceived, *FieldError) {
	cancelled := v.cancelled != nil && *v.cancelled
	c := CallbackReceived{State: v.state, Code: secret.New(v.code), Cancelled: cancelled, FlowID: v.flowID}
	switch {
	case v.state == "":
		return c, problem("state", "missing")
	case v.success != nil:
		c.Success = *v.success
	case cancelled:
	case v.code != "":
		c.Success = true
	default:
		return c, problem("success", "missing")
	}
	if c.Success && cancelled {
		return c, problem("cancel", "contradicts success")
	}
	return c, nil
}

// flag reads cancel or abort. finX documents that they are there when the user
// cancelled, not their value: everything but a clear no counts as yes.
func (f *fields) flag(name string) *bool {
	v, ok := f.value(name)
	if !ok {
		return nil
	}
	var yes bool
	switch v.Kind() {
	case jsontext.KindTrue, jsontext.KindFalse:
		yes = v.Kind() == jsontext.KindTrue
	case jsontext.KindString:
		yes = isYes(f.text(name, maxCancel))
	default:
		f.failf(name, "must be a boolean, is %s", kindName(v.Kind()))
		return nil
	}
	return &yes
}

func isYes(s string) bool { return s != "false" && s != "0" }
