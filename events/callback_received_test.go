package events_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/secret"
)

func callback(data string) (events.CallbackReceived, error) {
	return events.DecodeCallbackReceived(events.Envelope{Type: events.TypeCallbackReceived, Data: []byte(data)})
}

func callbackURL(t testing.TB, url, more string) string {
	t.Helper()
	b, err := json.Marshal(url)
	if err != nil {
		t.Fatal(err)
	}
	return `{"callback_url":` + string(b) + more + `}`
}

func TestCallbackMeansWhatItSays(t *testing.T) {
	ok := events.CallbackReceived{State: "s", Success: true, Code: secret.New("c")}
	withFlow := events.CallbackReceived{State: "s", Success: true, Code: secret.New("c"), FlowID: "f"}
	cancelled := events.CallbackReceived{State: "s", Cancelled: true}
	failed := events.CallbackReceived{State: "s"}
	codeless := events.CallbackReceived{State: "s", Success: true}
	url := func(u string) string { return callbackURL(t, u, "") }
	for name, tc := range map[string]struct {
		data string
		want events.CallbackReceived
	}{
		"success":               {`{"state":"s","success":true,"code":"c"}`, ok},
		"success as string":     {`{"state":"s","success":"true","code":"c","flow_id":"f"}`, withFlow},
		"success left out":      {`{"state":"s","code":"c"}`, ok},
		"not cancelled":         {`{"state":"s","success":true,"code":"c","cancel":"false","abort":false}`, ok},
		"no success":            {`{"state":"s","success":false}`, failed},
		"no success, as string": {`{"state":"s","success":"false"}`, failed},
		"cancel":                {`{"state":"s","success":false,"cancel":true}`, cancelled},
		"cancel alone":          {`{"state":"s","cancel":"true"}`, cancelled},
		"cancel 1":              {`{"state":"s","cancel":"1"}`, cancelled},
		"cancel empty":          {`{"state":"s","cancel":""}`, cancelled},
		"abort":                 {`{"state":"s","abort":true}`, cancelled},
		"cancel empty, failed":  {`{"state":"s","success":false,"cancel":""}`, cancelled},
		"cancel NO":             {`{"state":"s","success":true,"code":"c","cancel":"NO","abort":"False"}`, ok},
		"cancel number":         {`{"state":"s","cancel":1}`, cancelled},
		"cancel number 0":       {`{"state":"s","success":true,"code":"c","cancel":0,"abort":0.0}`, ok},
		"success, empty cancel": {`{"state":"s","success":true,"code":"c","cancel":""}`, ok},
		"success, empty abort":  {`{"state":"s","success":"true","code":"c","abort":"","cancel":""}`, ok},
		"url, empty cancel":     {url("?success=true&state=s&code=c&cancel=&abort"), ok},
		"url, cancel False":     {url("?success=true&state=s&code=c&cancel=False"), ok},
		"empty cancel, url":     {callbackURL(t, "?state=s&code=c&success=true", `,"cancel":""`), ok},
		"url, bare cancel":      {url("?state=s&cancel"), cancelled},
		"bare cancel, success":  {callbackURL(t, "?state=s&code=c&cancel", `,"success":true`), ok},
		"abort over cancel":     {`{"state":"s","cancel":"false","abort":"1"}`, cancelled},
		"success without code":  {`{"state":"s","success":true}`, codeless},
		"success, empty code":   {`{"state":"s","success":"true","code":""}`, codeless},
		"url without code":      {url("https://a.example/cb?state=s&success=true"), codeless},
		"url":                   {url("https://a.example/cb?code=c&state=s&success=true"), ok},
		"url in any order":      {url("https://a.example/cb?x=%&success=true&flow_id=f&state=s&x=2&code=c"), withFlow},
		"url with fragment":     {url("https://a.example/cb?state=s&code=c&success=true#code=other"), ok},
		"url relative":          {url("/cb?state=s&code=c"), ok},
		"url encoded":           {url("https://a.example/cb?st%61te=%73&code=%63&success=true"), ok},
		"url cancel":            {url("https://a.example/cb?state=s&success=false&cancel=true"), cancelled},
		"url cancel, bare":      {url("https://a.example/cb?state=s&success=false&cancel"), cancelled},
		"url abort":             {url("https://a.example/cb?abort=1&state=s"), cancelled},
		"url and members agree": {callbackURL(t, "?state=s&code=c&success=true", `,"state":"s","success":"true","code":"c","flow_id":"f"`), withFlow},
		"members fill up":       {callbackURL(t, "?code=c", `,"state":"s"`), ok},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := callback(tc.data)
			if err != nil || got != tc.want {
				t.Errorf("%+v (code %q), %v, want %+v", got, got.Code.Reveal(), err, tc.want)
			}
		})
	}
}

func TestCallbackURLsAreRefusedByName(t *testing.T) {
	for name, tc := range map[string]struct{ url, more, want string }{
		"no query":         {"https://a.example/cb", "", "callback_url: has no query"},
		"no state":         {"?code=canary-code", "", "state: missing"},
		"code twice":       {"?state=s&code=canary-code&code=canary-code", "", "callback_url: code is given twice"},
		"state twice":      {"?state=s&st%61te=t&code=canary-code", "", "callback_url: state is given twice"},
		"broken encoding":  {"?state=%zz&code=canary-code", "", "callback_url: state is not percent-encoded UTF-8"},
		"broken code":      {"?state=s&code=canary-code%", "", "callback_url: code is not percent-encoded UTF-8"},
		"invalid UTF-8":    {"?state=s&code=canary-code%ff", "", "callback_url: code is not percent-encoded UTF-8"},
		"NUL":              {"?state=s%00&code=canary-code", "", "callback_url: state: contains a control character"},
		"long state":       {"?code=canary-code&state=" + strings.Repeat("s", 1025), "", "callback_url: state: 1025 characters, at most 1024"},
		"success word":     {"?state=s&code=canary-code&success=yes", "", "callback_url: success must be true or false"},
		"cancelled":        {"?state=s&code=canary-code&success=true&cancel=1", "", "cancel: contradicts success"},
		"other code":       {"?state=s&code=canary-code", `,"code":"canary-code-2"`, "code: does not agree with callback_url"},
		"other state":      {"?state=s&code=canary-code", `,"state":"t"`, "state: does not agree with callback_url"},
		"other flow":       {"?state=s&code=canary-code&flow_id=f", `,"flow_id":"g"`, "flow_id: does not agree with callback_url"},
		"other success":    {"?state=s&code=canary-code&success=true", `,"success":false`, "success: does not agree with callback_url"},
		"other cancel":     {"?state=s&success=false&cancel=false", `,"abort":true`, "cancel: does not agree with callback_url"},
		"bad member first": {"?code=canary-code", `,"state":7`, "state: must be a string, is a number"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := callback(callbackURL(t, tc.url, tc.more))
			fe, ok := errors.AsType[*events.FieldError](err)
			if !ok || fe.Error() != tc.want {
				t.Fatalf("got %v, want %s", err, tc.want)
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("the error shows the code: %v", err)
			}
		})
	}
}

func TestDecodersRefuseOtherTypes(t *testing.T) {
	for _, e := range []events.Envelope{{Type: events.TypeErasureRequested, Data: []byte(`{"state":"s","code":"c"}`)}, {Data: []byte(`{}`)}} {
		_, err := events.DecodeCallbackReceived(e)
		wantField(t, err, "type")
		_, err = events.DecodeConnectRequested(e)
		wantField(t, err, "type")
		_, err = events.DecodeSyncRequested(e)
		wantField(t, err, "type")
	}
	_, err := events.DecodeErasureRequested(events.Envelope{Type: events.TypeErasureRequested})
	wantField(t, err, "data")
}
