package events_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// payload is the data of an input and the field its refusal must name.
type payload struct{ name, data, field string }

// badPayloads are refused by the decoder and by the schema, both.
func badPayloads() map[string][]payload {
	return map[string][]payload{
		events.TypeConnectRequested: append(badRequiredFields(), badOptionalFields()...),
		events.TypeCallbackReceived: badCallbacks(),
		events.TypeSyncRequested:    badSyncs(),
		events.TypeErasureRequested: badErasures(),
	}
}

func long(n int) string { return strings.Repeat("x", n) }

func badRequiredFields() []payload {
	uri := func(s string) string { return `{"user_id":"u","redirect_uri":` + s + `}` }
	return []payload{
		{"empty object", `{}`, "redirect_uri"},
		{"no user", `{"redirect_uri":"https://a.example/cb"}`, "user_id"},
		{"empty user", `{"redirect_uri":"https://a.example/cb","user_id":""}`, "user_id"},
		{"null user", `{"redirect_uri":"https://a.example/cb","user_id":null}`, "user_id"},
		{"other case", `{"redirect_uri":"https://a.example/cb","User_ID":"u"}`, "user_id"},
		{"user as number", `{"redirect_uri":"https://a.example/cb","user_id":7}`, "user_id"},
		{"long user", `{"redirect_uri":"https://a.example/cb","user_id":"` + long(1025) + `"}`, "user_id"},
		{"NUL in user", `{"redirect_uri":"https://a.example/cb","user_id":"a\u0000b"}`, "user_id"},
		{"DEL in user", `{"redirect_uri":"https://a.example/cb","user_id":"a\u007fb"}`, "user_id"},
		{"newline in user", `{"redirect_uri":"https://a.example/cb","user_id":"a\n"}`, "user_id"},
		{"uri as number", uri(`42`), "redirect_uri"},
		{"uri relative", uri(`"/callback"`), "redirect_uri"},
		{"uri without host", uri(`"https:///callback"`), "redirect_uri"},
		{"uri of another scheme", uri(`"javascript:alert(1)"`), "redirect_uri"},
		{"uri with fragment", uri(`"https://a.example/cb#x"`), "redirect_uri"},
		{"uri with empty fragment", uri(`"https://a.example/cb#"`), "redirect_uri"},
		{"uri with user info", uri(`"https://a.example@evil.example/"`), "redirect_uri"},
		{"uri with backslash", uri(`"https://a.example\\@evil.example/"`), "redirect_uri"},
		{"uri with blank", uri(`"https://a.example/ cb"`), "redirect_uri"},
		{"uri too long", uri(`"https://a.example/` + long(2048) + `"`), "redirect_uri"},
	}
}

func badOptionalFields() []payload {
	connect := func(more string) string {
		return `{"redirect_uri":"https://a.example/cb","user_id":"u"` + more + `}`
	}
	return []payload{
		{"long state", connect(`,"state":"` + long(1025) + `"`), "state"},
		{"long tracking id", connect(`,"tracking_id":"` + long(1025) + `"`), "tracking_id"},
		{"long language", connect(`,"language":"` + long(36) + `"`), "language"},
		{"long provider", connect(`,"provider_id":"` + long(129) + `"`), "provider_id"},
		{"accounts as object", connect(`,"accounts":{}`), "accounts"},
		{"account as string", connect(`,"accounts":["DE1"]`), "accounts/0"},
		{"account as null", connect(`,"accounts":[null]`), "accounts/0"},
		{"account without id", connect(`,"accounts":[{"id":"DE1"},{}]`), "accounts/1/id"},
		{"account with long id", connect(`,"accounts":[{"id":"` + long(65) + `"}]`), "accounts/0/id"},
		{"many accounts", connect(`,"accounts":[` + strings.Repeat(`{"id":"1"},`, 100) + `{"id":"1"}]`), "accounts"},
		{"type as number", connect(`,"account_types":["Giro account",3]`), "account_types/1"},
		{"empty type", connect(`,"account_types":[""]`), "account_types/0"},
		{"many types", connect(`,"account_types":[` + strings.Repeat(`"a",`, 50) + `"a"]`), "account_types"},
		{"multi as word", connect(`,"allow_multi_selection":"yes"`), "allow_multi_selection"},
		{"multi as number", connect(`,"allow_multi_selection":1`), "allow_multi_selection"},
		{"period 0", connect(`,"sync_period":0`), "sync_period"},
		{"period 3651", connect(`,"sync_period":3651`), "sync_period"},
		{"period with fraction", connect(`,"sync_period":90.5`), "sync_period"},
		{"period as word", connect(`,"sync_period":"ninety"`), "sync_period"},
		{"period with zero", connect(`,"sync_period":"090"`), "sync_period"},
		{"period as bool", connect(`,"sync_period":true`), "sync_period"},
		{"secrets as object", connect(`,"save_secrets":{}`), "save_secrets"},
	}
}

func badCallbacks() []payload {
	return []payload{
		{"empty object", `{}`, "state"},
		{"no state", `{"success":true,"code":"c"}`, "state"},
		{"empty state", `{"state":"","success":true,"code":"c"}`, "state"},
		{"state as array", `{"state":["s"],"success":true,"code":"c"}`, "state"},
		{"long state", `{"state":"` + long(2048) + `","success":true,"code":"c"}`, "state"},
		{"NUL in state", `{"state":"s\u0000","success":true,"code":"c"}`, "state"},
		{"cancelled success without code", `{"state":"s","success":"true","cancel":true}`, "cancel"},
		{"success as word", `{"state":"s","success":"yes","code":"c"}`, "success"},
		{"success as number", `{"state":"s","success":1,"code":"c"}`, "success"},
		{"nothing but state", `{"state":"s"}`, "success"},
		{"not cancelled, nothing else", `{"state":"s","cancel":false}`, "success"},
		{"cancelled success", `{"state":"s","success":true,"code":"c","cancel":true}`, "cancel"},
		{"aborted success", `{"state":"s","success":"true","code":"c","abort":"x"}`, "cancel"},
		{"success aborted by number", `{"state":"s","success":true,"code":"c","abort":1}`, "cancel"},
		{"cancel as another number", `{"state":"s","cancel":2}`, "cancel"},
		{"cancel as object", `{"state":"s","cancel":{}}`, "cancel"},
		{"code as number", `{"state":"s","success":true,"code":12}`, "code"},
		{"long code", `{"state":"s","success":true,"code":"` + long(128<<10+1) + `"}`, "code"},
		{"long flow", `{"state":"s","success":true,"code":"c","flow_id":"` + long(257) + `"}`, "flow_id"},
		{"url as number", `{"callback_url":1}`, "callback_url"},
		{"url empty", `{"callback_url":""}`, "state"},
	}
}

func badSyncs() []payload {
	sync := func(more string) string { return `{"connection_id":"` + connectionID + `"` + more + `}` }
	return []payload{
		{"empty object", `{}`, "connection_id"},
		{"not a uuid", `{"connection_id":"alice"}`, "connection_id"},
		{"upper case", `{"connection_id":"` + strings.ToUpper(connectionID) + `"}`, "connection_id"},
		{"braces", `{"connection_id":"{` + connectionID + `}"}`, "connection_id"},
		{"wildcard", `{"connection_id":">"}`, "connection_id"},
		{"since with time", sync(`,"since":"2026-01-31T00:00:00Z"`), "since"},
		{"since no day", sync(`,"since":"2026-02-30"`), "since"},
		{"since as number", sync(`,"since":20260131`), "since"},
		{"until no day", sync(`,"since":"2026-02-01","until":"2026-02-30"`), "until"},
		{"until as word", sync(`,"until":"today"`), "until"},
		{"full as word", sync(`,"full":"all"`), "full"},
		{"long reason", sync(`,"reason":"` + long(257) + `"`), "reason"},
	}
}

func badErasures() []payload {
	return []payload{
		{"empty object", `{}`, "user_id"},
		{"both empty", `{"user_id":"","connection_id":null}`, "user_id"},
		{"not a uuid", `{"connection_id":"alice"}`, "connection_id"},
		{"user as object", `{"user_id":{}}`, "user_id"},
		{"long user", `{"user_id":"` + long(1025) + `"}`, "user_id"},
	}
}

func TestBadPayloadsAreRefusedByDecoderAndSchema(t *testing.T) {
	for typ, list := range badPayloads() {
		schema := compile(t, typ)
		for _, p := range list {
			t.Run(typ+"/"+p.name, func(t *testing.T) {
				_, err := decode(events.Envelope{Type: typ, Data: []byte(p.data)})
				wantField(t, err, p.field)
				if conforms(schema, []byte(p.data)) == nil {
					t.Error("the schema accepts it")
				}
			})
		}
	}
}

// wantField checks that err is permanent, malformed, and about that field.
func wantField(t testing.TB, err error, field string) {
	t.Helper()
	fe, ok := errors.AsType[*events.FieldError](err)
	if !ok {
		t.Fatalf("error %v, want a FieldError", err)
	}
	if fe.Field != field {
		t.Errorf("names %q (%v), want %q", fe.Field, err, field)
	}
	if fault.Of(err) != fault.GiveUp || fault.ClassOf(err) != fault.Malformed {
		t.Errorf("verdict %v class %v", fault.Of(err), fault.ClassOf(err))
	}
}

// goodPayloads are accepted by both.
func goodPayloads() map[string][]string {
	return map[string][]string{
		events.TypeConnectRequested: {
			`{"redirect_uri":"https://a.example/cb","user_id":"u"}`,
			`{"redirect_uri":"http://localhost:8080","user_id":"ü ` + strings.Repeat("ä", 1000) + `","state":"","language":null}`,
			`{"redirect_uri":"HTTPS://[::1]/?a=b@c","user_id":"u","accounts":[],"account_types":null,"sync_period":"90","save_secrets":"false"}`,
			`{"redirect_uri":"https://a.example","user_id":"u","sync_period":90.0,"allow_multi_selection":"true","nobody":{"knows":[1]}}`,
			`{"redirect_uri":"https://a.example","user_id":"u","sync_period":3.65e3}`,
		},
		events.TypeCallbackReceived: {
			`{"state":"s","success":true,"code":"c"}`,
			`{"state":"s","success":"true","code":"c","cancel":false,"abort":"0","flow_id":"f"}`,
			`{"state":"s","success":true}`, `{"state":"s","success":"true","code":""}`, `{"callback_url":"?state=s&success=true"}`,
			`{"state":"s","code":"c"}`, `{"state":"s","success":false}`, `{"state":"s","success":"false","cancel":"1"}`,
			`{"state":"s","cancel":""}`, `{"state":"s","abort":true}`, `{"state":"s","cancel":"user"}`,
			`{"state":"s","success":true,"code":"c","cancel":""}`, `{"state":"s","success":"true","code":"c","abort":"","cancel":"False"}`,
			`{"state":"s","success":true,"code":"c","cancel":0,"abort":"nO"}`, `{"state":"s","cancel":1}`, `{"state":"s","success":false,"abort":1.0}`,
			`{"callback_url":"?state=s&success=false"}`, `{"callback_url":"https://a.example/?code=c&state=s","state":"s"}`,
		},
		events.TypeSyncRequested: {
			`{"connection_id":"` + connectionID + `"}`,
			`{"connection_id":"` + connectionID + `","since":"","full":"true","reason":null}`,
			`{"connection_id":"` + connectionID + `","since":"2024-02-29","full":false,"trigger":"schedule"}`,
			`{"connection_id":"` + connectionID + `","since":"2024-02-29","until":"2024-03-31","trigger":"replay"}`,
			`{"connection_id":"` + connectionID + `","until":""}`,
			`{"connection_id":"` + connectionID + `","trigger":"nightly"}`, `{"connection_id":"` + connectionID + `","trigger":{"by":"cron"}}`,
			`{"connection_id":"` + connectionID + `","trigger":"` + long(10_000) + `"}`,
		},
		events.TypeErasureRequested: {`{"user_id":"u"}`, `{"connection_id":"` + connectionID + `"}`, `{"user_id":"u","connection_id":""}`},
	}
}

func TestGoodPayloadsAreAcceptedByDecoderAndSchema(t *testing.T) {
	for typ, list := range goodPayloads() {
		schema := compile(t, typ)
		for i, data := range list {
			t.Run(fmt.Sprintf("%s/%d", typ, i), func(t *testing.T) {
				if _, err := decode(events.Envelope{Type: typ, Data: []byte(data)}); err != nil {
					t.Error(err)
				}
				if err := conforms(schema, []byte(data)); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// memberNames are what a generated payload may have; every type gets all of
// them, so that strangers are among them too.
var memberNames = []string{
	"redirect_uri", "user_id", "state", "tracking_id", "language", "provider_id", "accounts", "account_types",
	"allow_multi_selection", "sync_period", "save_secrets", "success", "code", "cancel", "abort", "flow_id", "callback_url",
	"connection_id", "since", "until", "full", "reason", "trigger", "stranger",
}

var memberValues = []any{
	nil, true, false, "", "true", "false", "False", "NO", "0", "x", "a\x01b", 1, 0, 3650, 90.5, -1, 1e30, connectionID,
	"https://a.example/cb", "http://[::1]:80", "https://a@b", "https://a.example/?code=c&state=x", "?state=x&cancel", "2026-02-29", "2024-02-29", "90",
	[]any{},
	[]any{"x"},
	[]any{map[string]any{"id": "x"}},
	map[string]any{},
	strings.Repeat("é", 300), "schedule",
}

func genPayload() *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		obj := map[string]any{}
		if rapid.Bool().Draw(t, "plausible") { // else hardly any would be accepted
			obj["redirect_uri"], obj["user_id"], obj["state"], obj["connection_id"], obj["code"] = "https://a.example/cb", "u", "x", connectionID, "c"
		}
		for range rapid.IntRange(0, 4).Draw(t, "members") {
			name := rapid.SampledFrom(memberNames).Draw(t, "name")
			obj[name] = rapid.SampledFrom(memberValues).Draw(t, "value")
		}
		b, err := json.Marshal(obj)
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}

// TestDecoderAndSchemaAgree: whatever a decoder accepts, its schema accepts.
// The other way round holds for all but what a schema cannot say: the inside
// of a URL, and that callback_url and members agree.
func TestDecoderAndSchemaAgree(t *testing.T) {
	for _, typ := range events.InputTypes() {
		schema := compile(t, typ)
		t.Run(typ, func(t *testing.T) {
			accepted := 0
			rapid.Check(t, func(t *rapid.T) {
				data := genPayload().Draw(t, "payload")
				_, err := decode(events.Envelope{Type: typ, Data: data})
				valid := conforms(schema, data)
				if err == nil {
					accepted++
				}
				if err == nil && valid != nil {
					t.Fatalf("%s: decoder accepts, schema says %v", data, valid)
				}
				if fe, ok := errors.AsType[*events.FieldError](err); ok && valid == nil && !strings.Contains(string(data), "callback_url") {
					t.Fatalf("%s: schema accepts, decoder says %v", data, fe)
				}
			})
			if accepted == 0 {
				t.Error("no generated payload was ever accepted: the property was not tested")
			}
		})
	}
}
