package e2e_test

import (
	"fmt"
	"strings"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// nearMaxPayload is a body that just fits into a message of a broker with the
// default max_payload, but leaves a dead letter no room for its headers.
func nearMaxPayload(start, end string) string {
	const headers = 160
	return start + strings.Repeat("x", 1<<20-headers-len(start)-len(end)) + end
}

// misread are bodies that are no event, whatever the subject.
func misread() []bad {
	m := fault.Malformed
	return []bad{
		{name: "empty", body: ``, class: m, field: "data"},
		{name: "blank", body: " \n", class: m, field: "data"},
		{name: "not JSON", body: `user_id=7`, class: m, field: "data"},
		{name: "cut off", body: `{"user_id":"7","redirect_uri":"https://app.exa`, class: m, field: "redirect_uri"},
		{name: "an array", body: `[{"user_id":"7"}]`, class: m, field: "data"},
		{name: "a string", body: `"user"`, class: m, field: "data"},
		{name: "null", body: `null`, class: m, field: "data"},
		{name: "two objects", body: `{"user_id":"7"}{"user_id":"8"}`, class: m, field: "data"},
		{name: "invalid UTF-8", body: "{\"user_id\":\"\xff\xfe\"}", class: m, field: "user_id"},
		{name: "nested too deep", body: `{"a":` + strings.Repeat(`[`, 100) + strings.Repeat(`]`, 100) + `}`, class: m, field: "data"},
		{name: "wrong specversion", body: `{"specversion":"0.3","id":"1","source":"/u","type":"x","data":{}}`, class: m, field: "specversion"},
		{name: "another type", body: `{"specversion":"1.0","id":"1","source":"/u","type":"user.deleted","data":{}}`, class: m, field: "type"},
		{name: "no id", body: `{"specversion":"1.0","source":"/u","type":"x","data":{}}`, class: m, field: "id"},
		{name: "binary mode without a source", body: `{}`, headers: []string{"ce-specversion", "1.0", "ce-id", "1", "ce-type", "x"}, class: m, field: "ce-source"},
		{name: "of a megabyte", body: nearMaxPayload(`{"user_id":"`, `"}`), class: fault.Oversize, field: "data", gone: true},
		{name: "of 600 KB", body: `{"user_id":"` + strings.Repeat("x", 600<<10) + `"}`, class: fault.Oversize, field: "data"},
	}
}

func badConnects() []bad {
	m := fault.Malformed
	all := misread()
	with := func(name, field, members string) {
		body := `{"user_id":"7","redirect_uri":"https://app.example/cb",` + members + `}`
		all = append(all, bad{name: name, body: body, class: m, field: field})
	}
	for field, value := range map[string]string{
		"state": `7`, "tracking_id": `{}`, "language": `["de"]`, "provider_id": `true`, "accounts": `"DE02"`, "account_types": `"Giro"`,
		"allow_multi_selection": `"yes"`, "sync_period": `"soon"`, "save_secrets": `1`,
	} {
		with("wrong type of "+field, field, fmt.Sprintf(`%q:%s`, field, value))
	}
	for field, most := range map[string]int{"state": events.MaxState, "tracking_id": events.MaxTrackingID, "language": events.MaxLanguage, "provider_id": events.MaxProviderID} {
		with("over-long "+field, field, fmt.Sprintf(`%q:%q`, field, strings.Repeat("ä", most+1)))
	}
	with("account without an id", "accounts/0/id", `"accounts":[{}]`)
	with("sync_period below one", "sync_period", `"sync_period":0`)
	with("sync_period with a fraction", "sync_period", `"sync_period":1.5`)
	with("control character in the state", "state", `"state":"a\nb"`)
	with("duplicate member", "user_id", `"user_id":"8"`)
	return append(all,
		bad{name: "user_id missing", body: `{"redirect_uri":"https://app.example/cb"}`, class: m, field: "user_id"},
		bad{name: "user_id of a wrong type", body: `{"redirect_uri":"https://app.example/cb","user_id":7}`, class: m, field: "user_id"},
		bad{name: "over-long user_id", body: `{"redirect_uri":"https://app.example/cb","user_id":"` + strings.Repeat("u", events.MaxUserID+1) + `"}`, class: m, field: "user_id"},
		bad{name: "redirect_uri missing", body: `{"user_id":"7"}`, class: m, field: "redirect_uri"},
		bad{name: "redirect_uri of a wrong type", body: `{"user_id":"7","redirect_uri":{"href":"https://app.example"}}`, class: m, field: "redirect_uri"},
		bad{name: "redirect_uri is no URL", body: `{"user_id":"7","redirect_uri":"app.example"}`, class: m, field: "redirect_uri"},
		bad{name: "foreign redirect_uri", body: `{"user_id":"7","redirect_uri":"https://app.example.evil.test/cb"}`, class: fault.Rejected, field: "redirect_uri"},
		bad{name: "redirect_uri with another port", body: `{"user_id":"7","redirect_uri":"https://app.example:8443/cb"}`, class: fault.Rejected, field: "redirect_uri"},
		bad{name: "redirect_uri without TLS", body: `{"user_id":"7","redirect_uri":"http://app.example/cb"}`, class: fault.Rejected, field: "redirect_uri"},
	)
}

// waitingState is the state of a link that nobody has used; see wait.
const waitingState = "waiting-for-a-code"

// wait makes the link of waitingState.
func (r *rig) wait() {
	r.t.Helper()
	r.link(r.send(events.TypeConnectRequested, map[string]any{"user_id": "waiting@example.com", "redirect_uri": redirectURI, "state": waitingState}))
}

// badCallbacks all carry the planted code where a code could be.
func badCallbacks() []bad {
	m, code := fault.Malformed, `"code":"`+plantedCode+`"`
	url := func(query string) string { return `{"callback_url":"https://app.example/cb?` + query + `"}` }
	return []bad{
		{name: "unknown state", body: `{"state":"nobody's","success":true,` + code + `}`, class: fault.UnknownState, field: "state"},
		{name: "unknown state in a URL", body: url("code=" + plantedCode + "&success=true&state=nobodys"), class: fault.UnknownState, field: "state"},
		{name: "state missing", body: `{"success":true,` + code + `}`, class: m, field: "state"},
		{name: "state missing in a URL", body: url("success=true&code=" + plantedCode), class: m, field: "state"},
		{name: "state of a wrong type", body: `{"state":["s"],"success":true,` + code + `}`, class: m, field: "state"},
		{name: "over-long state", body: `{"state":"` + strings.Repeat("s", events.MaxState+1) + `","success":true,` + code + `}`, class: m, field: "state"},
		{name: "success of a wrong type", body: `{"state":"s","success":"yes",` + code + `}`, class: m, field: "success"},
		{name: "success without a code on a state nobody made", body: `{"state":"nobody's","success":true}`, class: fault.UnknownState, field: "state"},
		{name: "success without a code on a first link", body: `{"state":"` + waitingState + `","success":true,"note":"` + plantedCode + `","x_code":"` + plantedCode + `"}`, class: m, field: "code"},
		{name: "neither success nor code", body: `{"state":"s","verification_code":"` + plantedCode + `"}`, class: m, field: "success"},
		{name: "code of a wrong type", body: `{"state":"s","success":true,"code":{"value":"` + plantedCode + `"}}`, class: m, field: "code"},
		{name: "over-long code", body: `{"state":"s","success":true,"code":"` + strings.Repeat("c", events.MaxCode) + plantedCode + `"}`, class: m, field: "code"},
		{name: "success and cancel", body: `{"state":"s","success":true,"cancel":true,` + code + `}`, class: m, field: "cancel"},
		{name: "URL without a query", body: `{"callback_url":"https://app.example/cb",` + code + `,"success":true}`, class: m, field: "callback_url"},
		{name: "code twice in a URL", body: url("state=s&success=true&code=" + plantedCode + "&code=other"), class: m, field: "callback_url"},
		{name: "URL and members disagree", body: `{"state":"a","success":true,"callback_url":"https://app.example/cb?state=b&success=true&code=` + plantedCode + `"}`, class: m, field: "state"},
		{name: "over-long flow_id", body: `{"state":"s","success":true,` + code + `,"flow_id":"` + strings.Repeat("f", events.MaxFlowID+1) + `"}`, class: m, field: "flow_id"},
		{name: "duplicate code", body: `{"state":"s","success":true,` + code + `,` + code + `}`, class: m, field: "code", gone: true},
		{name: "not JSON", body: "state=s&success=true&code=" + plantedCode, class: m, field: "data", gone: true},
		{name: "cut off", body: `{"state":"s","success":true,` + code, class: m, field: "data", gone: true},
		{name: "invalid UTF-8", body: "{\"state\":\"\xff\"," + code + "}", class: m, field: "state", gone: true},
		{name: "an array", body: `[{"state":"s","success":true,` + code + `}]`, class: m, field: "data"},
		{name: "wrong specversion", body: `{"specversion":"2","id":"1","source":"/u","type":"callback.received","data":{"state":"s",` + code + `}}`, class: m, field: "specversion"},
		{name: "code in a header", body: `{"state":"s","success":7,` + code + `}`, headers: []string{"X-Referer", "https://app.example/cb?code=" + plantedCode + "&state=s"}, class: m, field: "success"},
		{name: "of a megabyte", body: nearMaxPayload(`{"state":"s","success":true,`+code+`,"pad":"`, `"}`), class: fault.Oversize, field: "data", gone: true},
	}
}

func badSyncs(connectionID string) []bad {
	m := fault.Malformed
	with := func(members string) string { return `{"connection_id":"` + connectionID + `",` + members + `}` }
	return []bad{
		{name: "not JSON", body: `now`, class: m, field: "data"},
		{name: "connection_id missing", body: `{"full":true}`, class: m, field: "connection_id"},
		{name: "connection_id of a wrong type", body: `{"connection_id":17}`, class: m, field: "connection_id"},
		{name: "connection_id is no UUID", body: `{"connection_id":"../finx"}`, class: m, field: "connection_id"},
		{name: "no such connection", body: `{"connection_id":"00000000-0000-5000-8000-000000000000"}`, class: fault.Rejected, field: "connection_id"},
		{name: "since of a wrong type", body: with(`"since":20260101`), class: m, field: "since"},
		{name: "since is no date", body: with(`"since":"2026-02-30"`), class: m, field: "since"},
		{name: "full of a wrong type", body: with(`"full":"all"`), class: m, field: "full"},
		{name: "over-long reason", body: with(`"reason":"` + strings.Repeat("r", events.MaxReason+1) + `"`), class: m, field: "reason"},
		{name: "duplicate member", body: with(`"full":true,"full":false`), class: m, field: "full"},
		{name: "of a megabyte", body: nearMaxPayload(`{"connection_id":"`+connectionID+`","reason":"`, `"}`), class: fault.Oversize, field: "data", gone: true},
	}
}
