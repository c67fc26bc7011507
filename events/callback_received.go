package events

import (
	"strings"

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
	Cancelled bool        // cancel or abort was there and no clear no
	FlowID    string
}

// DecodeCallbackReceived reads the data of a callback.received: members of
// their own, or one callback_url that carries them in its query, or both if
// they agree. Without success, a cancelled callback did not succeed and one
// with a code did. A success cannot be cancelled. Whether it may lack a code
// depends on the link (finX need not give one when it renews an access), so
// that is left to whoever knows the state.
// An empty cancel or abort is yes only without a success: templates upstream
// render what was not in the query as an empty value.
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
// Absent is "", nil or unsaid.
type callbackValues struct {
	state, code, flowID string
	success             *bool
	cancelled           answer
}

// answer is what cancel and abort say, the stronger the greater: one yes
// outweighs whatever the other parameter says.
type answer int

const (
	unsaid answer = iota
	no
	blank // there, without a value
	yes
)

func callbackMembers(f *fields) callbackValues {
	return callbackValues{
		state:     f.text("state", MaxState),
		success:   f.boolean("success"),
		code:      f.text("code", MaxCode),
		cancelled: max(f.answer("cancel"), f.answer("abort")),
		flowID:    f.text("flow_id", MaxFlowID),
	}
}

// settled returns the answer when success is known: beside a success blank says
// nothing, else it is a yes.
func (a answer) settled(success *bool) answer {
	switch {
	case a != blank:
		return a
	case success != nil && *success:
		return unsaid
	}
	return yes
}

// callback draws the conclusions.
func (v callbackValues) callback() (CallbackReceived, *FieldError) {
	cancelled := v.cancelled.settled(v.success) == yes
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

// answer reads cancel or abort. finX documents that they are there when the user
// cancelled, not their value: everything but a clear no counts as yes.
func (f *fields) answer(name string) answer {
	v, ok := f.value(name)
	if !ok {
		return unsaid
	}
	switch v.Kind() {
	case jsontext.KindTrue:
		return yes
	case jsontext.KindFalse:
		return no
	case jsontext.KindString:
		return answerOf(f.text(name, maxCancel))
	case jsontext.KindNumber:
		n, whole := wholeNumber(string(v))
		switch {
		case whole && n == 0:
			return no
		case whole && n == 1:
			return yes
		}
		f.failf(name, "must be a boolean, 0 or 1, is another number")
	default:
		f.failf(name, "must be a boolean, is %s", kindName(v.Kind()))
	}
	return unsaid
}

func answerOf(s string) answer {
	switch strings.ToLower(s) {
	case "":
		return blank
	case "false", "0", "no":
		return no
	}
	return yes
}
