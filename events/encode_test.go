package events_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/secret"
)

func TestInputsAreReadBackAsTheyWereEncoded(t *testing.T) {
	no, days := false, 365
	for typ, data := range map[string]any{
		events.TypeConnectRequested: events.ConnectRequested{
			RedirectURI: "https://a.example/?a=1&b=<2>", UserID: "u", SyncPeriod: &days, SaveSecrets: &no,
			Accounts: []events.AccountRef{{ID: "DE1"}}, AccountTypes: []string{"Giro account"},
		},
		events.TypeCallbackReceived: events.CallbackReceived{State: "s", Success: true, Code: secret.New("c&<d>"), FlowID: "f"},
		events.TypeSyncRequested:    events.SyncRequested{ConnectionID: connectionID, Full: true, Trigger: events.TriggerSchedule},
		events.TypeErasureRequested: events.ErasureRequested{UserID: "u"},
	} {
		body, err := events.EncodeInput(typ, "e-1", at, events.Cause{ID: "c-1", TraceParent: traceParent, ReplayID: "r-1"}, data)
		if err != nil {
			t.Fatalf("%s: %v", typ, err)
		}
		if strings.Contains(string(body), `\u00`) {
			t.Errorf("HTML escapes: %s", body)
		}
		e, err := events.Codec{}.Parse(events.Message{Subject: typ, Data: body})
		if err != nil {
			t.Fatalf("%s: %v", typ, err)
		}
		if e.ID != "e-1" || e.Source != events.Source || e.CausationID != "c-1" || e.ReplayID != "r-1" || e.TraceParent != traceParent || !e.Time.Equal(at) {
			t.Errorf("%s: %+v", typ, e)
		}
		if got, err := decode(e); err != nil || !reflect.DeepEqual(got, data) {
			t.Errorf("%s: %+v, %v", typ, got, err)
		}
		if err := conforms(compile(t, typ), e.Data); err != nil {
			t.Errorf("%s: %v", typ, err)
		}
	}
}

func TestCallbacksWithoutACodeAreEncoded(t *testing.T) {
	for _, want := range []events.CallbackReceived{{State: "s", Cancelled: true}, {State: "s", Success: true}} {
		body, err := events.EncodeInput(events.TypeCallbackReceived, "e", at, events.Cause{}, want)
		if err != nil {
			t.Fatal(err)
		}
		e, err := events.Codec{}.Parse(events.Message{Subject: events.TypeCallbackReceived, Data: body})
		if err != nil || strings.Contains(string(body), "causationid") {
			t.Fatalf("%s, %v", body, err)
		}
		if got, err := events.DecodeCallbackReceived(e); err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

func TestRawDataIsEncodedAsItIs(t *testing.T) {
	for _, raw := range []any{[]byte(`{"user_id" : "u","x":1.0}`), json.RawMessage(`{"user_id" : "u","x":1.0}`)} {
		body, err := events.EncodeInput(events.TypeErasureRequested, "e", at, events.Cause{}, raw)
		if err != nil || !strings.HasSuffix(string(body), `"data":{"user_id" : "u","x":1.0}}`) {
			t.Errorf("%s, %v", body, err)
		}
	}
}

func TestWhatCouldNotBeReadIsNotEncoded(t *testing.T) {
	for name, tc := range map[string]struct {
		typ, id string
		data    any
		field   string
	}{
		"another payload":    {events.TypeSyncRequested, "e", events.ErasureRequested{UserID: "u"}, "data"},
		"a callback":         {events.TypeSyncRequested, "e", events.CallbackReceived{}, "data"},
		"a string":           {events.TypeSyncRequested, "e", "x", "data"},
		"nil":                {events.TypeSyncRequested, "e", nil, "data"},
		"an output type":     {events.TypeFetchFailed, "e", []byte(`{}`), "type"},
		"an unknown type":    {"x", "e", []byte(`{}`), "subject"},
		"no id":              {events.TypeErasureRequested, "", events.ErasureRequested{UserID: "u"}, "id"},
		"a missing field":    {events.TypeSyncRequested, "e", events.SyncRequested{}, "connection_id"},
		"an invalid field":   {events.TypeSyncRequested, "e", events.SyncRequested{ConnectionID: connectionID, Since: "soon"}, "since"},
		"callback, no state": {events.TypeCallbackReceived, "e", events.CallbackReceived{Success: true}, "state"},
		"no redirect uri":    {events.TypeConnectRequested, "e", events.ConnectRequested{UserID: "u"}, "redirect_uri"},
		"nobody to erase":    {events.TypeErasureRequested, "e", events.ErasureRequested{}, "user_id"},
		"data that closes":   {events.TypeErasureRequested, "e", []byte(`{"user_id":"u"}}{`), "data"},
		"no data":            {events.TypeErasureRequested, "e", []byte(nil), "data"},
		"a callback in raw":  {events.TypeCallbackReceived, "e", []byte(`{"state":"s","code":"canary-code","success":"canary-code"}`), "success"},
	} {
		t.Run(name, func(t *testing.T) {
			body, err := events.EncodeInput(tc.typ, tc.id, at, events.Cause{}, tc.data)
			if body != nil {
				t.Errorf("body %s", body)
			}
			wantField(t, err, tc.field)
			if strings.Contains(err.Error(), "canary") {
				t.Error(err)
			}
		})
	}
}
