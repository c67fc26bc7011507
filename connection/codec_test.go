package connection_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/internal/secret"
)

func full() connection.Record {
	r := connection.New("6f9619ff-8b86-5011-b42d-00c04fc964ff", "user@example.com", noon)
	r.CauseID, r.Request = "evt-1", json.RawMessage(`{"user_id":"user@example.com"}`)
	r.RedirectURI, r.OAuthState, r.FlowID, r.TrackingID = "https://app.example/cb", "st-1", "flow-1", "tr-1"
	r.Scope, r.RefreshObtainedAt, r.NextFetchAt = "accounts=ro offline", noon, noon.Add(time.Hour)
	r.KeepAliveAt, r.ExpiringTold = noon.Add(57*24*time.Hour), noon.Add(90*24*time.Hour)
	r = r.OpenFetch("f1", "callback", connection.Ask{}, noon)
	r = r.CloseFetch(noon, map[string]connection.AccountMark{"A1": {SucceededAt: "2026-11-22T05:00:00Z"}}, 7)
	r = r.OpenFetch("f2", "schedule", connection.Ask{Full: true}, noon)
	return r.Note(noon, "finx_down", "503")
}

func TestEncodeDecodeRoundTrip(t *testing.T) {
	want := full()
	data, err := connection.Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := connection.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestUnknownMembersOfTheSameVersionSurvive(t *testing.T) {
	in := `{"v":1,"id":"c1","user_id":"u\"}1","state":"requested","request":{"v":[",",{"x":1}]},"colour":{"deep":[1,2.50]},"mood":null}`
	r, err := connection.Decode([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	if r, err = r.Move(connection.LinkCreated, noon, ""); err != nil {
		t.Fatal(err)
	}
	out, err := connection.Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(out, &m); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if string(m["colour"]) != `{"deep":[1,2.50]}` || string(m["mood"]) != "null" || string(m["state"]) != `"link_created"` {
		t.Errorf("got %s", out)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"nothing":       ``,
		"not an object": `[]`,
		"no version":    `{"id":"c1","state":"requested"}`,
		"no id":         `{"v":1,"state":"requested"}`,
		"no state":      `{"v":1,"id":"c1"}`,
		"unknown state": `{"v":1,"id":"c1","state":"dancing"}`,
		"cut off":       `{"v":1,"id":"c1","state":"requested"`,
	} {
		if _, err := connection.Decode([]byte(in)); err == nil || !strings.HasPrefix(err.Error(), "connection: decoding record: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The newer layout need not even fit today's types.
	_, err := connection.Decode([]byte(`{"v":2,"id":"c1","state":{"name":"requested"}}`))
	ve, ok := errors.AsType[*connection.VersionError](err)
	if !ok || *ve != (connection.VersionError{ID: "c1", Got: 2}) {
		t.Errorf("newer version: %v", err)
	}
}

func TestEncodeRefusesHalfARecord(t *testing.T) {
	for _, r := range []connection.Record{{}, {ID: "c1"}, {ID: "c1", State: "dancing"}, {State: connection.Requested}} {
		if out, err := connection.Encode(r); err == nil {
			t.Errorf("%+v became %s", r, out)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"v":1,"id":"c1","state":"requested"}`))
	f.Add([]byte(`{"v":1,"id":"c1","state":"requested","V":1,"x":{},"STATE":"failed"}`))
	f.Add([]byte(`{"v":2}`))
	f.Add([]byte(`{ "v" : 1 , "id" : "c\"1\\" , "state":"requested", "request":{"a":["}",{"b":"\\\""}]}, "\u0078":1}`))
	f.Add([]byte(`{"v":1,"id":"c1","state":"established","accounts":{"A":{"until":"x"}},"history":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := connection.Decode(data)
		if err != nil {
			return
		}
		out, err := connection.Encode(r)
		if err != nil {
			t.Fatalf("decoded but not encodable: %v", err)
		}
		again, err := connection.Decode(out)
		if err != nil {
			t.Fatalf("encoded but not decodable: %v: %s", err, out)
		}
		if twice, _ := connection.Encode(again); string(twice) != string(out) {
			t.Fatalf("not stable:\n%s\n%s", out, twice)
		}
		r.NextWindow("A", noon, tenDays, connection.Ask{})
	})
}

// The record lies in a KV bucket that operators and other programs read.
func TestRecordHasNoRoomForASecret(t *testing.T) {
	allowed := map[string]bool{
		"Record.RefreshObtainedAt": true, // a time
	}
	var walk func(typ reflect.Type, path string)
	seen := map[reflect.Type]bool{}
	walk = func(typ reflect.Type, path string) {
		if typ == reflect.TypeFor[secret.Text]() {
			t.Errorf("%s is a secret", path)
		}
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
			walk(typ.Elem(), path)
		case reflect.Struct:
			if seen[typ] || typ == reflect.TypeFor[time.Time]() {
				return
			}
			seen[typ] = true
			for f := range typ.Fields() {
				name := typ.Name() + "." + f.Name
				for _, bad := range []string{"token", "secret", "code", "password", "refresh", "jwt", "location", "access"} {
					if strings.Contains(strings.ToLower(f.Name+f.Tag.Get("json")), bad) && !allowed[name] {
						t.Errorf("%s (%s) sounds like a secret: %q", name, path, bad)
					}
				}
				walk(f.Type, path+"."+f.Name)
			}
		}
	}
	walk(reflect.TypeFor[connection.Record](), "Record")
	if !seen[reflect.TypeFor[connection.OpenFetch]()] {
		t.Error("the walk did not reach the nested types")
	}
}
