package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// EncodeInput returns an event that the connector handles as structured
// CloudEvents JSON. data is the payload struct that belongs to typ, or its JSON as []byte or
// json.RawMessage, which goes in byte for byte. c.ID becomes the causationid;
// an empty Cause leaves those attributes out. What the decoder of typ would
// refuse is refused here, with the same error.
//
// The data of a callback carries its code in the clear, as it must.
func EncodeInput(typ, id string, t time.Time, c Cause, data any) ([]byte, error) {
	raw, err := inputData(typ, data)
	if err != nil {
		return nil, err
	}
	w := openObject(make([]byte, 0, len(raw)+512))
	w.text("specversion", SpecVersion)
	w.text("id", id)
	w.text("source", Source)
	w.text("type", typ)
	w.time("time", t)
	w.text("datacontenttype", ContentTypeJSON)
	if IsInput(typ) { // what is internal has no published schema
		w.text("dataschema", SchemaID(typ))
	}
	w.optional("causationid", c.ID)
	w.optional("replayid", c.ReplayID)
	w.optional(HeaderTraceParent, c.TraceParent)
	w.optional(HeaderTraceState, c.TraceState)
	w.raw("data", raw)
	body := w.close()

	e, err := Codec{MaxInputBytes: len(body)}.Parse(Message{Subject: typ, Data: body})
	if err != nil {
		return nil, err
	}
	if err := checkInput(e); err != nil {
		return nil, err
	}
	return body, nil
}

// inputData returns the JSON of data.
func inputData(typ string, data any) ([]byte, error) {
	var belongs string
	switch d := data.(type) {
	case []byte:
		return d, nil
	case json.RawMessage:
		return d, nil
	case CallbackReceived:
		if typ == TypeCallbackReceived {
			return d.appendData(nil), nil
		}
		belongs = TypeCallbackReceived
	case ConnectRequested:
		belongs = TypeConnectRequested
	case SyncRequested:
		belongs = TypeSyncRequested
	case ErasureRequested:
		belongs = TypeErasureRequested
	case KeepAliveDue:
		belongs = TypeKeepAliveDue
	}
	if belongs != typ || !IsHandled(typ) {
		return nil, refuse(fault.Malformed, "an input to encode", problem("data", "%T is not the data of this type", data))
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(data); err != nil {
		return nil, fault.Permanent(fault.Malformed, fmt.Errorf("events: encoding %s: %w", typ, err))
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// checkInput decodes e as what it is.
func checkInput(e Envelope) error {
	var err error
	switch e.Type {
	case TypeConnectRequested:
		_, err = DecodeConnectRequested(e)
	case TypeCallbackReceived:
		_, err = DecodeCallbackReceived(e)
	case TypeSyncRequested:
		_, err = DecodeSyncRequested(e)
	case TypeErasureRequested:
		_, err = DecodeErasureRequested(e)
	case TypeKeepAliveDue:
		_, err = DecodeKeepAliveDue(e)
	default:
		err = refuse(fault.Malformed, "an input", problem("type", "is no input of the contract"))
	}
	return err
}

// appendData appends the callback with its code.
func (c CallbackReceived) appendData(dst []byte) []byte {
	w := openObject(dst)
	w.text("state", c.State)
	w.boolean("success", c.Success)
	w.optional("code", c.Code.Reveal()) // the event is the code's own way in
	if c.Cancelled {
		w.boolean("cancel", true)
	}
	w.optional("flow_id", c.FlowID)
	return w.close()
}
