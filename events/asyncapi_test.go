package events_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// ref is a reference into the document or to a file.
type ref struct {
	Ref string `yaml:"$ref"`
}

type asyncAPI struct {
	AsyncAPI           string `yaml:"asyncapi"`
	DefaultContentType string `yaml:"defaultContentType"`
	Channels           map[string]struct {
		Address    string         `yaml:"address"`
		Stream     string         `yaml:"x-nats-stream"`
		Parameters map[string]ref `yaml:"parameters"`
		Messages   map[string]ref `yaml:"messages"`
	} `yaml:"channels"`
	Operations map[string]struct {
		Action   string `yaml:"action"`
		Channel  ref    `yaml:"channel"`
		Messages []ref  `yaml:"messages"`
	} `yaml:"operations"`
	Components struct {
		Parameters map[string]struct {
			Description string `yaml:"description"`
		} `yaml:"parameters"`
		Messages map[string]struct {
			Name        string `yaml:"name"`
			ContentType string `yaml:"contentType"`
			Headers     ref    `yaml:"headers"`
			Payload     struct {
				Schema struct {
					AllOf      []ref `yaml:"allOf"`
					Properties struct {
						Type       struct{ Const, Pattern string } `yaml:"type"`
						DataSchema struct{ Const string }          `yaml:"dataschema"`
						Data       ref                             `yaml:"data"`
					} `yaml:"properties"`
				} `yaml:"schema"`
			} `yaml:"payload"`
		} `yaml:"messages"`
		Schemas map[string]any `yaml:"schemas"`
	} `yaml:"components"`
}

const docsDir = "../docs"

func readAsyncAPI(t *testing.T) asyncAPI {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(docsDir, "asyncapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var doc asyncAPI
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.AsyncAPI != "3.0.0" || doc.DefaultContentType != events.ContentTypeStructured {
		t.Errorf("version %q, content type %q", doc.AsyncAPI, doc.DefaultContentType)
	}
	return doc
}

var addressParameter = regexp.MustCompile(`\{([a-z]+)\}`)

// channelOf returns the key of the only channel with that base name.
func (d asyncAPI) channelOf(t *testing.T, base string) string {
	t.Helper()
	var found []string
	for key, c := range d.Channels {
		if strings.TrimSuffix(addressParameter.ReplaceAllString(c.Address, ""), ".") == base {
			found = append(found, key)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%s: channels %v, want one", base, found)
	}
	return found[0]
}

// actions returns what is done on a channel, sorted.
func (d asyncAPI) actions(channel string) []string {
	var list []string
	for _, op := range d.Operations {
		if op.Channel.Ref == "#/channels/"+channel {
			list = append(list, op.Action)
		}
	}
	slices.Sort(list)
	return list
}

func TestAsyncAPIHasEverySubjectInItsDirectionAndStream(t *testing.T) {
	doc := readAsyncAPI(t)
	type want struct {
		stream  string
		actions []string
	}
	wants := map[string]want{
		events.SubjectTimer: {events.StreamTimers, []string{"send"}},
		events.SubjectDue:   {events.StreamTimers, []string{"receive"}},
		events.SubjectDLQ:   {events.StreamDLQ, []string{"send"}},
	}
	for _, typ := range events.InputTypes() {
		wants[typ] = want{events.StreamOf(typ), []string{"receive"}}
	}
	for _, typ := range events.OutputTypes() {
		wants[typ] = want{events.StreamOf(typ), []string{"send"}}
	}
	wants[events.TypeSyncRequested] = want{events.StreamRequests, []string{"receive", "send"}} // it asks itself
	for base, w := range wants {
		key := doc.channelOf(t, base)
		if got := doc.Channels[key].Stream; got != w.stream {
			t.Errorf("%s: stream %q, want %q", base, got, w.stream)
		}
		if got := doc.actions(key); !slices.Equal(got, w.actions) {
			t.Errorf("%s: operations %v, want %v", base, got, w.actions)
		}
		if !strings.HasPrefix(doc.Channels[key].Address, "{prefix}") {
			t.Errorf("%s: address %q has no prefix", base, doc.Channels[key].Address)
		}
	}
	if len(doc.Channels) != len(wants) {
		t.Errorf("%d channels, want %d", len(doc.Channels), len(wants))
	}
	if n := len(wants) + 1; len(doc.Operations) != n {
		t.Errorf("%d operations, want %d", len(doc.Operations), n)
	}
}

func TestAsyncAPIMessagesAreTheCodes(t *testing.T) {
	doc := readAsyncAPI(t)
	for _, typ := range allTypes() {
		key := doc.channelOf(t, typ)
		messages := doc.Channels[key].Messages
		if len(messages) != 1 {
			t.Fatalf("%s: messages %v, want one", typ, messages)
		}
		name, ok := strings.CutPrefix(messages[key].Ref, "#/components/messages/")
		m, exists := doc.Components.Messages[name]
		if !ok || !exists || m.Name != typ || m.ContentType != events.ContentTypeStructured {
			t.Errorf("%s: message %q is %+v", typ, name, m)
		}
		properties := m.Payload.Schema.Properties
		raw, err := os.ReadFile(filepath.Join(docsDir, properties.Data.Ref))
		if err != nil {
			t.Fatalf("%s: %v", typ, err)
		}
		var schema struct {
			ID string `json:"$id"`
		}
		if err := json.Unmarshal(raw, &schema); err != nil || schema.ID != events.SchemaID(typ) {
			t.Errorf("%s: payload schema is %q, %v, want %q", typ, schema.ID, err, events.SchemaID(typ))
		}
		if events.IsOutput(typ) && (properties.DataSchema.Const != events.SchemaID(typ) || properties.Type.Const != typ) {
			t.Errorf("%s: dataschema %q, type %q", typ, properties.DataSchema.Const, properties.Type.Const)
		}
		if events.IsInput(typ) {
			p, err := regexp.Compile(properties.Type.Pattern)
			if err != nil || !p.MatchString(typ) || !p.MatchString("com.acme."+typ) || p.MatchString("x"+typ) {
				t.Errorf("%s: type pattern %q, %v", typ, properties.Type.Pattern, err)
			}
		}
	}
	if want := len(allTypes()) + 4; len(doc.Components.Messages) != want { // and two timers, retries, dead letters
		t.Errorf("%d messages, want %d", len(doc.Components.Messages), want)
	}
}

func TestAsyncAPIReferencesResolve(t *testing.T) {
	doc := readAsyncAPI(t)
	for key, c := range doc.Channels {
		names := addressParameter.FindAllStringSubmatch(c.Address, -1)
		if len(names) != len(c.Parameters) {
			t.Errorf("%s: %d parameters for the address %s", key, len(c.Parameters), c.Address)
		}
		for _, name := range names {
			target, ok := strings.CutPrefix(c.Parameters[name[1]].Ref, "#/components/parameters/")
			if !ok || doc.Components.Parameters[target].Description == "" {
				t.Errorf("%s: parameter %s is not described", key, name[1])
			}
		}
		for name, m := range c.Messages {
			if _, ok := doc.Components.Messages[strings.TrimPrefix(m.Ref, "#/components/messages/")]; !ok {
				t.Errorf("%s: message %s goes to %q", key, name, m.Ref)
			}
		}
	}
	for key, op := range doc.Operations {
		channel := strings.TrimPrefix(op.Channel.Ref, "#/channels/")
		if len(op.Messages) == 0 || len(op.Messages) != len(doc.Channels[channel].Messages) {
			t.Errorf("%s: %d messages", key, len(op.Messages))
		}
		for _, m := range op.Messages {
			name, ok := strings.CutPrefix(m.Ref, "#/channels/"+channel+"/messages/")
			if _, exists := doc.Channels[channel].Messages[name]; !ok || !exists {
				t.Errorf("%s: message %q", key, m.Ref)
			}
		}
	}
	for name, m := range doc.Components.Messages {
		for _, r := range append([]ref{m.Headers}, m.Payload.Schema.AllOf...) {
			if target, ok := strings.CutPrefix(r.Ref, "#/components/schemas/"); r.Ref != "" && (!ok || doc.Components.Schemas[target] == nil) {
				t.Errorf("message %s refers to %q", name, r.Ref)
			}
		}
	}
}

// schemaOf compiles one of the document's own schemas.
func (d asyncAPI) schemaOf(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	raw, err := json.Marshal(d.Components.Schemas[name])
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("urn:"+name, v); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("urn:" + name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return s
}

func TestAsyncAPIEnvelopesAreTheGoldens(t *testing.T) {
	doc := readAsyncAPI(t)
	input, output := doc.schemaOf(t, "inputEnvelope"), doc.schemaOf(t, "outputEnvelope")
	ofConnection, ofNone := doc.schemaOf(t, "outputHeaders"), doc.schemaOf(t, "auditHeaders")
	for stem, o := range outputs() {
		if err := conforms(output, golden(t, stem)); err != nil {
			t.Errorf("%s: %v", stem, err)
		}
		single := map[string]string{}
		for name, values := range events.HeadersFor(o) {
			single[name] = values[0]
		}
		raw, err := json.Marshal(single)
		if err != nil {
			t.Fatal(err)
		}
		headers := ofNone
		if events.HasConnection(o.Type) {
			headers = ofConnection
		}
		if err := conforms(headers, raw); err != nil {
			t.Errorf("headers of %s: %v", stem, err)
		}
	}
	for _, stem := range []string{"connect_requested", "callback_received", "sync_requested", "erasure_requested"} {
		if err := conforms(input, golden(t, stem)); err != nil {
			t.Errorf("%s: %v", stem, err)
		}
	}
	if conforms(output, golden(t, "connect_requested")) == nil {
		t.Error("an input passes for an output")
	}
}

func TestAsyncAPIHasTheReasonClassesOfDeadLetters(t *testing.T) {
	s := readAsyncAPI(t).Components.Schemas["deadLetterHeaders"]
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var headers struct {
		Properties map[string]struct{ Enum []fault.Class }
	}
	if err := json.Unmarshal(raw, &headers); err != nil {
		t.Fatal(err)
	}
	want := []fault.Class{fault.Malformed, fault.Rejected, fault.Exhausted, fault.Expired, fault.UnknownState, fault.Oversize, fault.Outage}
	if got := headers.Properties["Dlq-Reason"].Enum; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
