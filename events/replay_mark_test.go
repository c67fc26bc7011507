package events_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// A marked event is, to the byte, the event that would have been rendered with
// the mark in the first place.
func TestReplayIDStandsWhereAnOutputHasIt(t *testing.T) {
	for stem, o := range outputs() {
		o.Time, o.ReplayID = at, ""
		plain := o.AppendJSON(nil)
		before := bytes.Clone(plain)
		for _, id := range []string{"3f0c7c9e-6d0c-4a57-9a53-0f7ac3a2d7a1", "2", `with "quotes" & <more>`} {
			got, err := events.WithReplayID(plain, id)
			o.ReplayID = id
			if want := o.AppendJSON(nil); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %v\n got %s\nwant %s", stem, err, got, want)
			}
			again, err := events.WithReplayID(got, "another")
			o.ReplayID = "another"
			if want := o.AppendJSON(nil); err != nil || !bytes.Equal(again, want) {
				t.Errorf("%s, marked twice: %v\n got %s\nwant %s", stem, err, again, want)
			}
		}
		if !bytes.Equal(plain, before) {
			t.Errorf("%s: the event itself was changed", stem)
		}
	}
}

func TestReplayIDInOddEvents(t *testing.T) {
	for event, want := range map[string]string{
		`{}`:                          `{"replayid":"r"}`,
		` { "data" : {"a":1} } `:      ` {"replayid":"r", "data" : {"a":1} } `,
		`{"id":"1"}`:                  `{"id":"1","replayid":"r"}`,
		`{"id":"1" , "data":null }`:   `{"id":"1","replayid":"r" , "data":null }`,
		`{"data":1,"replayid":null}`:  `{"data":1,"replayid":"r"}`,
		`{"data":{"replayid":"own"}}`: `{"replayid":"r","data":{"replayid":"own"}}`,
		`{"a":1,"traceparent":"x","data":{"x":1,"x":2}}`: `{"a":1,"replayid":"r","traceparent":"x","data":{"x":1,"x":2}}`,
	} {
		got, err := events.WithReplayID([]byte(event), "r")
		if err != nil || string(got) != want {
			t.Errorf("%s: %v\n got %s\nwant %s", event, err, got, want)
		}
	}
	for _, event := range []string{``, `[]`, `"x"`, `{"id":`, `{"id":"1"`, `{"id":"1"} {}`, "\ufeff{}", `{"id" "1"}`} {
		_, err := events.WithReplayID([]byte(event), "r")
		if _, named := errors.AsType[*events.FieldError](err); !named || fault.Of(err) != fault.GiveUp || fault.ClassOf(err) != fault.Malformed {
			t.Errorf("%q: %v", event, err)
		}
	}
}

func FuzzWithReplayID(f *testing.F) {
	for _, o := range outputs() {
		f.Add(o.AppendJSON(nil), "id")
	}
	f.Add([]byte(`{"replayid":"a","replayid":"b"}`), "x")
	f.Add([]byte(`{"data":{},"id":"1"}`), "\u2028")
	f.Fuzz(func(t *testing.T, event []byte, id string) {
		got, err := events.WithReplayID(event, id)
		if err != nil {
			return
		}
		var before, after map[string]json.RawMessage
		if json.Unmarshal(event, &before) != nil {
			return // encoding/json refuses what finX may send
		}
		if err := json.Unmarshal(got, &after); err != nil {
			t.Fatalf("%q became %q: %v", event, got, err)
		}
		delete(before, "replayid")
		delete(after, "replayid")
		if len(before) != len(after) {
			t.Fatalf("%q became %q", event, got)
		}
		for name, was := range before {
			if !bytes.Equal(after[name], was) {
				t.Fatalf("%s of %q became %s", name, event, after[name])
			}
		}
	})
}

// An input that is published again is the same event, in every form, and also in
// another stream.
func TestRepublishedInputsAreTheSameEvent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := `{"connection_id":"` + connectionID + `","reason":"r"}`
		m := events.Message{Subject: events.TypeSyncRequested, Stream: "S", Sequence: rapid.Uint64Range(1, 1e6).Draw(t, "sequence"), Time: at, Data: []byte(data)}
		m.Header = map[string][]string{"Nats-Expected-Stream": {"S"}, "X-Own": {"kept"}, "traceparent": {traceParent}}
		if rapid.Bool().Draw(t, "has a message id") {
			m.Header[events.HeaderMsgID] = []string{"upstream-7"}
		}
		switch rapid.IntRange(0, 2).Draw(t, "form") {
		case 1:
			m.Data = []byte(`{"specversion":"1.0","id":"e-1","source":"/u","type":"` + m.Subject + `","data":` + data + `}`)
		case 2:
			for name, v := range map[string]string{"ce-specversion": "1.0", "Ce-Id": "e-2", "ce-source": "/u", "ce-type": m.Subject} {
				m.Header[name] = []string{v}
			}
		}
		first, err := events.Codec{}.Parse(m)
		if err != nil {
			t.Fatal(err)
		}
		again, env, err := events.Codec{}.Republish(m)
		if err != nil || env.ID != first.ID {
			t.Fatalf("%v: %q, was %q", err, env.ID, first.ID)
		}
		if again.Header["X-Own"] == nil || again.Header["Nats-Expected-Stream"] != nil || again.Header[events.HeaderMsgID] != nil {
			t.Fatalf("headers %v", again.Header)
		}
		again.Header[events.HeaderMsgID] = []string{"replay:1"}
		again.Header[events.HeaderReplayID] = []string{"rep-1"}
		again.Stream, again.Sequence, again.Time = "OTHER", 1, at.AddDate(1, 0, 0)
		second, err := events.Codec{}.Parse(again)
		if err != nil || second.ID != first.ID || second.Source != first.Source || string(second.Data) != string(first.Data) ||
			!second.Time.Equal(first.Time) || second.TraceParent != first.TraceParent || second.ReplayID != "rep-1" || events.FetchID(second) != events.FetchID(first) {
			t.Fatalf("%v\n got %+v\nwant %+v", err, second, first)
		}
	})
}
