package upgrade_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/finx-connector/finx-connector/events"
)

// TestPublishedSchemasOnlyGrow compares today's schemas with those that were
// published: under an id that is out, whoever relies on it must be able to go on.
func TestPublishedSchemasOnlyGrow(t *testing.T) {
	for _, release := range releases(t) {
		f := load(t, release)
		versions, err := os.ReadDir(filepath.Join(f.dir, "schemas"))
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, version := range versions {
			files, err := os.ReadDir(filepath.Join(f.dir, "schemas", version.Name()))
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				typ := strings.TrimSuffix(file.Name(), ".json")
				var old, now any
				readJSON(t, filepath.Join(f.dir, "schemas", version.Name(), file.Name()), &old)
				id := "urn:finx-connector:schema:" + typ + ":" + version.Name()
				raw := events.SchemaByID(id)
				if err := json.Unmarshal(raw, &now); err != nil {
					t.Errorf("%s is not published any more: %v", id, err)
					continue
				}
				if got := now.(map[string]any)["$id"]; got != id {
					t.Errorf("%s says that it is %v", id, got)
				}
				if err := grown(old, now, typ); err != nil {
					t.Errorf("release %s, %v", release, err)
				}
				seen++
			}
		}
		if seen < 13 {
			t.Errorf("release %s has %d schemas", release, seen)
		}
	}
}

// grown reports what of a schema somebody who relies on the old one would miss. New
// are members that nobody has to send or to read, and words.
func grown(old, now any, at string) error {
	was, isObject := old.(map[string]any)
	is, stillObject := now.(map[string]any)
	if !isObject || !stillObject {
		if !reflect.DeepEqual(old, now) {
			return fmt.Errorf("%s: %v, was %v", at, now, old)
		}
		return nil
	}
	for key, value := range was {
		switch key {
		case "title", "description", "$comment", "examples":
		case "properties", "$defs":
			after, _ := is[key].(map[string]any)
			for name, property := range value.(map[string]any) {
				next, there := after[name]
				if !there {
					return fmt.Errorf("%s.%s: gone", at, name)
				}
				if err := grown(property, next, at+"."+name); err != nil {
					return err
				}
			}
		case "required":
			if !sameSet(value, is[key]) {
				return fmt.Errorf("%s: required is %v, was %v", at, is[key], value)
			}
		default:
			next, there := is[key]
			if !there {
				return fmt.Errorf("%s: %s is gone", at, key)
			}
			if err := grown(value, next, at+"/"+key); err != nil {
				return err
			}
		}
	}
	for key := range is {
		if _, before := was[key]; !before && !slices.Contains([]string{"title", "description", "$comment", "examples", "properties", "$defs"}, key) {
			return fmt.Errorf("%s: %s is new, and may refuse what was right", at, key)
		}
	}
	return nil
}

func sameSet(a, b any) bool {
	names := func(v any) []string {
		list, _ := v.([]any)
		out := make([]string, len(list))
		for i, s := range list {
			out[i] = fmt.Sprint(s)
		}
		slices.Sort(out)
		return out
	}
	return slices.Equal(names(a), names(b))
}

// The comparison has to see what it is there for.
func TestWhatIsNoGrowthIsSeen(t *testing.T) {
	const published = `{"$id":"x","type":"object","required":["a"],"properties":{"a":{"type":"string","enum":["b","c"]},"d":{"type":"object","properties":{"e":{"type":"integer"}}}}}`
	for change, fine := range map[string]bool{
		published: true,
		strings.Replace(published, `"d":{`, `"new":{"type":"string"},"d":{"description":"words",`, 1):      true,
		strings.Replace(published, `"properties":{"e"`, `"properties":{"f":{"type":"null"},"e"`, 1):        true,
		strings.Replace(published, `"e":{"type":"integer"}`, ``, 1):                                        false,
		strings.Replace(published, `"integer"`, `"string"`, 1):                                             false,
		strings.Replace(published, `["a"]`, `["a","d"]`, 1):                                                false,
		strings.Replace(published, `["a"]`, `[]`, 1):                                                       false,
		strings.Replace(published, `["b","c"]`, `["b"]`, 1):                                                false,
		strings.Replace(published, `"$id":"x"`, `"$id":"y"`, 1):                                            false,
		strings.Replace(published, `"type":"object",`, `"type":"object","additionalProperties":false,`, 1): false,
		strings.Replace(published, `"type":"integer"`, `"type":"integer","minimum":1`, 1):                  false,
	} {
		var old, now any
		if err := json.Unmarshal([]byte(published), &old); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(change), &now); err != nil {
			t.Fatal(err)
		}
		if err := grown(old, now, "x"); (err == nil) != fine {
			t.Errorf("%s: %v", change, err)
		}
	}
}

// TestStoredEventsAreReadable holds every event that a release has stored or drawn to
// today's decoders and to the schema that it names.
func TestStoredEventsAreReadable(t *testing.T) {
	for _, release := range releases(t) {
		f := load(t, release)
		seen := map[string]int{}
		check := func(name string, m events.Message) {
			t.Helper()
			typ, ok := events.Codec{}.TypeOf(m.Subject)
			if !ok {
				t.Errorf("%s: no type for %s", name, m.Subject)
				return
			}
			if !events.IsOutput(typ) {
				if _, err := (events.Codec{}).Parse(m); err != nil && !strings.Contains(name, "FINX_") {
					t.Errorf("%s: %v", name, err)
				}
				seen[typ]++
				return
			}
			o, err := events.ParseOutput(m)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			var envelope struct {
				DataSchema string `json:"dataschema"`
			}
			if err := json.Unmarshal(m.Data, &envelope); err != nil {
				t.Fatal(err)
			}
			if err := conforms(t, envelope.DataSchema, o.Data); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			seen[o.Type]++
		}
		for _, m := range f.messages {
			if m.Stream == events.StreamEvents || m.Stream == events.StreamRequests || m.Stream == events.StreamCallbacks {
				check(fmt.Sprint(m.Stream, " ", m.Sequence), m.message())
			}
		}
		drawn, err := filepath.Glob(filepath.Join(f.dir, "events", "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range drawn {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var envelope struct {
				Type string `json:"type"`
			}
			if err := json.Unmarshal(raw, &envelope); err != nil {
				t.Fatal(err)
			}
			check(path, events.Message{Subject: strings.TrimPrefix(envelope.Type, "com.example."), Data: raw})
		}
		// Every type that the release knew, by its schemas.
		schemas, err := filepath.Glob(filepath.Join(f.dir, "schemas", "v1", "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range schemas {
			if typ := strings.TrimSuffix(filepath.Base(path), ".json"); seen[typ] == 0 {
				t.Errorf("release %s has no %s", release, typ)
			}
		}
	}
}

// conforms checks data against the schema of that id: the id picks the version.
func conforms(t *testing.T, id string, data []byte) error {
	t.Helper()
	schema := events.SchemaByID(id)
	if schema == nil {
		return fmt.Errorf("there is no schema %q", id)
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return err
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(id, parsed); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile(id)
	if err != nil {
		t.Fatal(err)
	}
	return compiled.Validate(value)
}
