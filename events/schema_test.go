package events_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/finx-connector/finx-connector/events"
)

func allTypes() []string { return append(events.InputTypes(), events.OutputTypes()...) }

// compile returns the schema of typ as any user of the dataschema would
// compile it, formats included.
func compile(t testing.TB, typ string) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(events.Schema(typ)))
	if err != nil {
		t.Fatalf("schema of %s: %v", typ, err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(events.SchemaID(typ), doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(events.SchemaID(typ))
	if err != nil {
		t.Fatalf("compiling the schema of %s: %v", typ, err)
	}
	return s
}

// conforms returns nil when data is valid under s.
func conforms(s *jsonschema.Schema, data []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

func TestSchemasAreOneATypeAndNamedByTheirDataschema(t *testing.T) {
	files, err := fs.Glob(os.DirFS("schemas/v1"), "*.json")
	if err != nil || len(files) != len(allTypes()) {
		t.Fatalf("%d schema files, %v, want %d", len(files), err, len(allTypes()))
	}
	for _, typ := range allTypes() {
		compile(t, typ)
		var head struct {
			ID     string `json:"$id"`
			Schema string `json:"$schema"`
			Title  string `json:"title"`
		}
		if err := json.Unmarshal(events.Schema(typ), &head); err != nil {
			t.Fatal(err)
		}
		if head.ID != events.SchemaID(typ) || !strings.Contains(head.Schema, "2020-12") || head.Title != typ {
			t.Errorf("%s: schema says %+v", typ, head)
		}
	}
	if events.Schema("no.such.type") != nil {
		t.Error("a schema of an unknown type")
	}
}
