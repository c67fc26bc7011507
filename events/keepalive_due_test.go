package events_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/finx-connector/finx-connector/events"
)

func keepAlive(data string) events.Envelope {
	return events.Envelope{Type: events.TypeKeepAliveDue, Data: []byte(data)}
}

// The golden is what is written, too: no other program sends this event.
func TestKeepAliveDueGolden(t *testing.T) {
	const stem = "keepalive_due"
	want := events.KeepAliveDue{ConnectionID: connectionID}
	got, err := events.EncodeInput(events.TypeKeepAliveDue, "golden-1", at, events.Cause{}, want)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(filepath.Join("testdata", stem+".json"), append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	body := golden(t, stem)
	if !bytes.Equal(got, body) {
		t.Errorf("got  %s\nwant %s", got, body)
	}
	c := events.Codec{Prefix: "acme"}
	subject := c.Subject(events.SubjectDueKeepAlive) + "." + connectionID
	e, err := c.Parse(events.Message{Subject: subject, Header: header("Content-Type", structuredType), Data: body})
	if err != nil {
		t.Fatal(err)
	}
	if e.ID != "golden-1" || e.Type != events.TypeKeepAliveDue || e.Source != events.Source || !e.Time.Equal(at) {
		t.Errorf("envelope %+v", e)
	}
	// As a redrive writes it when the id stood in a header only.
	binary, err := c.Parse(events.Message{Subject: subject, Header: e.Headers(), Data: e.Data})
	if err != nil {
		t.Fatal(err)
	}
	for name, env := range map[string]events.Envelope{"structured": e, "binary": binary} {
		if d, err := events.DecodeKeepAliveDue(env); err != nil || d != want {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}

func badKeepAlives() []payload {
	return []payload{
		{"empty object", `{}`, "connection_id"},
		{"null", `{"connection_id":null}`, "connection_id"},
		{"not a uuid", `{"connection_id":"alice"}`, "connection_id"},
		{"upper case", `{"connection_id":"7D0F6D3C-2F5C-5D0E-9A57-1F0F2B6A4C11"}`, "connection_id"},
		{"wildcard", `{"connection_id":">"}`, "connection_id"},
		{"number", `{"connection_id":7}`, "connection_id"},
		{"twice", `{"connection_id":"` + connectionID + `","connection_id":"x"}`, "connection_id"},
		{"no object", `[]`, "data"},
		{"nothing", ``, "data"},
	}
}

func TestBadKeepAlivesAreRefusedByField(t *testing.T) {
	for _, p := range badKeepAlives() {
		t.Run(p.name, func(t *testing.T) {
			_, err := events.DecodeKeepAliveDue(keepAlive(p.data))
			wantField(t, err, p.field)
			_, err = events.EncodeInput(events.TypeKeepAliveDue, "e", at, events.Cause{}, []byte(p.data))
			wantField(t, err, p.field)
		})
	}
	_, err := events.DecodeKeepAliveDue(events.Envelope{Type: events.TypeSyncRequested, Data: []byte(`{"connection_id":"` + connectionID + `"}`)})
	wantField(t, err, "type")
	_, err = events.EncodeInput(events.TypeSyncRequested, "e", at, events.Cause{}, events.KeepAliveDue{ConnectionID: connectionID})
	wantField(t, err, "data")
}

// The type is handled and is no part of the contract with other programs.
func TestKeepAliveDueIsInternal(t *testing.T) {
	const typ = events.TypeKeepAliveDue
	if !events.IsHandled(typ) || events.IsInput(typ) || events.IsOutput(typ) || events.Schema(typ) != nil ||
		slices.Contains(allTypes(), typ) || events.StreamOf(typ) != events.StreamTimers {
		t.Errorf("handled %v, input %v, output %v, stream %q", events.IsHandled(typ), events.IsInput(typ), events.IsOutput(typ), events.StreamOf(typ))
	}
	for _, typ := range allTypes() {
		if events.IsHandled(typ) != events.IsInput(typ) {
			t.Errorf("%s: handled %v", typ, events.IsHandled(typ))
		}
	}
}

// FuzzDecodeKeepAliveDue: what is refused is refused by field, and what is
// accepted can be set as a timer again.
func FuzzDecodeKeepAliveDue(f *testing.F) {
	for _, p := range badKeepAlives() {
		f.Add([]byte(p.data))
	}
	f.Add([]byte(`{"connection_id":"` + connectionID + `","stranger":[1]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := events.DecodeKeepAliveDue(keepAlive(string(data)))
		if err != nil {
			checkError(t, err)
			return
		}
		body, err := events.EncodeInput(events.TypeKeepAliveDue, "e", at, events.Cause{}, got)
		if err != nil {
			t.Fatalf("%+v cannot be set again: %v", got, err)
		}
		e, err := events.Codec{}.Parse(events.Message{Subject: events.SubjectDueKeepAlive + "." + got.ConnectionID, Data: body})
		if err != nil {
			t.Fatal(err)
		}
		if again, err := events.DecodeKeepAliveDue(e); err != nil || again != got {
			t.Fatalf("%+v became %+v, %v", got, again, err)
		}
	})
}
