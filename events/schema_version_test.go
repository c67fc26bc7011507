package events_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// The ids are out: whoever has stored an event looks its schema up by them.
func TestSchemaIDsStay(t *testing.T) {
	for _, typ := range allTypes() {
		want := "urn:finx-connector:schema:" + typ + ":v1"
		if got := events.SchemaID(typ); got != want {
			t.Errorf("%s has the schema %s", typ, got)
		}
		if schema := events.SchemaByID(want); !bytes.Contains(schema, []byte(`"$id": "`+want+`"`)) {
			t.Errorf("%s is not the schema of that id: %.80s", want, schema)
		}
	}
	for _, id := range []string{
		"", "urn:finx-connector:schema:", "urn:finx-connector:schema:callback.received:v2", "urn:finx-connector:schema:callback.received",
		"urn:other:schema:callback.received:v1", "urn:finx-connector:schema:../v1/callback.received:v1", "urn:finx-connector:schema:callback.received:../schemas/v1",
	} {
		if got := events.SchemaByID(id); got != nil {
			t.Errorf("%q has a schema", id)
		}
	}
}

// The dataschema of an input says which version it is written to. One that is not
// known would be misread; another team's id, or none, is taken for the first.
func TestTheSchemaOfAnInputPicksItsVersion(t *testing.T) {
	const typ = events.TypeSyncRequested
	body := func(schema string) []byte {
		return []byte(`{"specversion":"1.0","id":"e-1","source":"/up","type":"` + typ + `"` + schema + `,"data":{"connection_id":"3f0c7c9e-6d0c-5a57-9a53-0f7ac3a2d7a1"}}`)
	}
	for schema, known := range map[string]bool{
		``: true,
		`,"dataschema":"urn:finx-connector:schema:` + typ + `:v1"`:         true,
		`,"dataschema":"https://example.com/sync/v7"`:                      true,
		`,"dataschema":"urn:finx-connector:schema:callback.received:v9"`:   true, // names another event's, and says nothing of this one
		`,"dataschema":"urn:finx-connector:schema:` + typ + `:v2"`:         false,
		`,"dataschema":"urn:finx-connector:schema:` + typ + `:v1/../../x"`: false,
	} {
		_, err := events.Codec{}.Parse(events.Message{Subject: typ, Data: body(schema)})
		if known != (err == nil) {
			t.Errorf("%s: %v", schema, err)
		}
		if !known && (fault.ClassOf(err) != fault.Malformed || !strings.Contains(err.Error(), "dataschema: is a version of "+typ+" that this program does not know")) {
			t.Errorf("%s: %v", schema, err)
		}
	}
	binary := map[string][]string{"ce-specversion": {"1.0"}, "ce-id": {"e"}, "ce-source": {"/up"}, "ce-type": {typ}, "ce-dataschema": {events.SchemaID(typ) + "2"}}
	if _, err := (events.Codec{}).Parse(events.Message{Subject: typ, Header: binary, Data: []byte(`{}`)}); err == nil || !strings.Contains(err.Error(), "ce-dataschema: is a version") {
		t.Errorf("%v", err)
	}
}
