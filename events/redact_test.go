package events_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/finx-connector/finx-connector/events"
)

const canary = "eyJ.canary-code/+=%7E"

// show renders everything of a message, headers and subject included.
func show(m events.Message) string {
	return fmt.Sprintf("%s %v %s", m.Subject, m.Header, m.Data)
}

// leaks reports whether s has the code in any of the spellings a reader of the
// dead letter could turn back into it.
func leaks(s, code string) bool {
	quoted, _ := json.Marshal(code)
	for _, form := range []string{
		code, strings.Trim(string(quoted), `"`), url.QueryEscape(code), url.PathEscape(code), url.QueryEscape(url.QueryEscape(code)),
		base64.StdEncoding.EncodeToString([]byte(code)),
	} {
		if strings.Contains(s, form) {
			return true
		}
	}
	return false
}

func TestRedactCallbackTakesTheCodeAndLeavesTheRest(t *testing.T) {
	q := url.QueryEscape(canary)
	data := `{"state":"s-1", "success":true,"code":"` + canary + `","flow_id":"f"}`
	ce := `"specversion":"1.0","id":"e","source":"/up","type":"callback.received"`
	for name, tc := range map[string]struct {
		in, want string // bodies
		header   map[string][]string
		headers  map[string][]string
	}{
		"bare":            {in: data, want: `{"state":"s-1","success":true,"flow_id":"f"}`},
		"structured":      {in: `{` + ce + `,"data":` + data + `}`, want: `{` + ce + `,"data":{"state":"s-1","success":true,"flow_id":"f"}}`},
		"nothing to take": {in: `{ "state":"s-1", "cancel" : true, "n":1.50 }`, want: `{ "state":"s-1", "cancel" : true, "n":1.50 }`},
		"other case":      {in: `{"Code":"` + canary + `","authCode":"x-x-x-x","n":1.50}`, want: `{"n":1.50}`},
		"code as number":  {in: `{"code":1234567,"a":1234567,"b":["x1234567"]}`, want: `{"a":"[redacted]","b":["[redacted]"]}`},
		"code as object":  {in: `{"code":{"value":"` + canary + `"},"a":1}`, want: `{"a":1}`},
		"url in the middle": {
			in:   `{"callback_url":"https://a.example/cb?state=s&code=` + q + `&success=true#top"}`,
			want: `{"callback_url":"https://a.example/cb?state=s&success=true#top"}`,
		},
		"url, first":           {in: `{"callback_url":"https://a.example/cb?code=` + q + `&state=s"}`, want: `{"callback_url":"https://a.example/cb?state=s"}`},
		"url, last":            {in: `{"callback_url":"https://a.example/cb?state=s&code=` + q + `"}`, want: `{"callback_url":"https://a.example/cb?state=s"}`},
		"url, only":            {in: `{"callback_url":"/cb?code=` + q + `"}`, want: `{"callback_url":"/cb"}`},
		"url, name encoded":    {in: `{"callback_url":"/cb?c%6Fde=` + q + `&state=s"}`, want: `{"callback_url":"/cb?state=s"}`},
		"url, HTML-escaped":    {in: `{"callback_url":"/cb?state=s&amp;code=` + q + `"}`, want: `{"callback_url":"/cb?state=s"}`},
		"url, unencoded quote": {in: `{"callback_url":"/cb?code=ab\"cdefgh?ijk&state=s"}`, want: `{"callback_url":"/cb?state=s"}`},
		"url inside url":       {in: `{"next":"/login?to=` + url.QueryEscape("/cb?code="+q) + `"}`, want: `{"next":"[redacted]"}`},
		"url as fragment":      {in: `{"callback_url":"/cb#state=s&code=` + q + `"}`, want: `{"callback_url":"/cb#state=s"}`},
		"query alone":          {in: `{"query":"code=` + q + `&state=s"}`, want: `{"query":"state=s"}`},
		"JSON in string":       {in: `{"data":"{\"code\":\"` + canary + `\"}"}`, want: `{"data":"[redacted]"}`},
		"code elsewhere":       {in: `{"code":"` + canary + `","id":"cb-` + canary + `","note":"` + q + `","n":null}`, want: `{"id":"[redacted]","note":"[redacted]","n":null}`},
		"code as name":         {in: `{"code":"` + canary + `","` + canary + `":1,"n":[{"code":"x"}]}`, want: `{"n":[{}]}`},
		"code escaped":         {in: `{"c\u006fde":"canary\u002dcode","x":"canary-code"}`, want: `{"x":"[redacted]"}`},
		"base64": {
			in:   `{` + ce + `,"data_base64":"` + base64.StdEncoding.EncodeToString([]byte(data)) + `"}`,
			want: `{` + ce + `,"data_base64":"` + base64.StdEncoding.EncodeToString([]byte(`{"state":"s-1","success":true,"flow_id":"f"}`)) + `"}`,
		},
		"base64 without code": {in: `{"data_base64":"e30=", "a":1}`, want: `{"data_base64":"e30=", "a":1}`},
		"base64 unreadable":   {in: `{"data_base64":"` + base64.StdEncoding.EncodeToString([]byte("code="+canary)) + `"}`, want: `{"data_base64":"[redacted]"}`},
		"not JSON":            {in: `state=s&code=` + canary, want: fmt.Sprintf(`{"withheld":"the body cannot be read as a callback and may hold a secret","bytes":%d}`, 13+len(canary))},
		"cut off":             {in: data[:60], want: `{"withheld":"the body cannot be read as a callback and may hold a secret","bytes":60}`},
		"name twice":          {in: `{"code":"a","code":"b"}`, want: `{"withheld":"the body cannot be read as a callback and may hold a secret","bytes":23}`},
		"empty":               {in: ``, want: ``},
		"headers": {
			in: data, want: `{"state":"s-1","success":true,"flow_id":"f"}`,
			header: map[string][]string{
				"Nats-Msg-Id": {"cb:" + canary}, "X-Url": {"/cb?state=s&code=" + q, "plain"}, "ce-code": {"x"}, "X-" + canary: {"y"},
				"traceparent": {traceParent}, "Content-Type": {"application/json"},
			},
			headers: map[string][]string{
				"Nats-Msg-Id": {"[redacted]"}, "X-Url": {"/cb?state=s", "plain"},
				"traceparent": {traceParent}, "Content-Type": {"application/json"},
			},
		},
		"header of an unreadable body": {
			in: `{"code": "` + canary, want: fmt.Sprintf(`{"withheld":"the body cannot be read as a callback and may hold a secret","bytes":%d}`, 10+len(canary)),
			header: map[string][]string{"Nats-Msg-Id": {canary}, "X": {"1"}}, headers: map[string][]string{"Nats-Msg-Id": {"[redacted]"}, "X": {"1"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := events.Message{Subject: "callback.received", Header: maps.Clone(tc.header), Data: []byte(tc.in), Stream: "S", Sequence: 3, Time: at}
			got := redact(in)
			if string(got.Data) != tc.want {
				t.Errorf("body\n got %s\nwant %s", got.Data, tc.want)
			}
			if !reflect.DeepEqual(got.Header, tc.headers) {
				t.Errorf("header\n got %v\nwant %v", got.Header, tc.headers)
			}
			if got.Subject != in.Subject || got.Stream != "S" || got.Sequence != 3 || !got.Time.Equal(at) {
				t.Errorf("message %+v", got)
			}
			if string(in.Data) != tc.in || !reflect.DeepEqual(in.Header, tc.header) {
				t.Error("the original was changed")
			}
			again := redact(got)
			if !bytes.Equal(again.Data, got.Data) {
				t.Errorf("a second time changes it: %s", again.Data)
			}
		})
	}
}

func TestRedactCallbackLooksAtTheSubject(t *testing.T) {
	for subject, want := range map[string]string{
		"callback.received.canarycode.eu": "callback.received.redacted.eu",
		"callback.received.eu.42":         "callback.received.eu.42",
	} {
		if got := redact(events.Message{Subject: subject, Data: []byte(`{"code":"canarycode"}`)}); got.Subject != want {
			t.Errorf("%s: %s, want %s", subject, got.Subject, want)
		}
	}
	if got := redact(events.Message{Subject: "callback.received.eyJ.canary", Data: []byte(`{"code":"eyJ.canary"}`)}); strings.Contains(got.Subject, "canary") {
		t.Errorf("subject %s", got.Subject)
	}
}

func TestRedactCallbackIsBounded(t *testing.T) {
	var body strings.Builder
	body.WriteString(`{"code":"canary-code-0"`)
	for i := range 20_000 {
		fmt.Fprintf(&body, `,"%d":{"code":"canary-code-%d","x":"%d"}`, i, i, i)
	}
	body.WriteString("}")
	got := redact(events.Message{Data: []byte(body.String()), Header: header("Nats-Msg-Id", "canary-code-19999", "X", "fine")})
	if len(got.Data) > 200 || !bytes.Contains(got.Data, []byte(`"withheld"`)) {
		t.Errorf("%d bytes were kept", len(got.Data))
	}
	if !reflect.DeepEqual(got.Header, header("Nats-Msg-Id", "[redacted]", "X", "fine")) {
		t.Errorf("header %v", got.Header)
	}
}

// TestOddFormsOfACallbackKeepNoCode: what was handed in, with a code in places
// where no contract puts it.
func TestOddFormsOfACallbackKeepNoCode(t *testing.T) {
	const code = "ab/cd<e-77Zk"
	quoted, _ := json.Marshal(code) // escapes the angle bracket
	escaped := strings.ReplaceAll(string(quoted), "/", `\/`)
	whole := base64.StdEncoding.EncodeToString([]byte(`{"state":"s","code":` + string(quoted) + `}`))
	for name, in := range map[string]string{
		"pairs of name and value": `{"params":[{"name":"code","value":` + escaped + `}]}`,
		"list of pairs":           `[["code",` + escaped + `],["state","s"]]`,
		"pairs in a callback":     `{"state":"s","success":false,"params":[["CODE",` + escaped + `]]}`,
		"brackets in a query":     `{"callback_url":"/cb?code[]=` + url.QueryEscape(code) + `&state=s","copy":` + escaped + `}`,
		"encoded brackets":        `{"callback_url":"/cb?code%5B0%5D=` + url.QueryEscape(code) + `&state=s","copy":` + escaped + `}`,
		"longer name":             `{"authorizationCodeValue":` + escaped + `,"copy":` + escaped + `}`,
		"list and copy":           `{"code":[` + escaped + `],"raw":` + escaped + `}`,
		"object and copy":         `{"code":{"value":` + escaped + `},"copy":"see ab%2Fcd%3Ce-77Zk"}`,
		"base64 of a callback":    `{"state":"s","raw":"` + whole + `"}`,
		"base64 and copy":         `{"raw":"Basic ` + whole + `","copy":` + escaped + `}`,
		"base64 behind letters":   `{"raw":"body-x` + whole + `"}`,
		"base64 for URLs":         `{"raw":"` + base64.RawURLEncoding.EncodeToString([]byte(`?>?{"code":`+string(quoted)+`}`)) + `"}`,
		"base64 of the code":      `{"code":` + escaped + `,"b":"` + base64.StdEncoding.EncodeToString([]byte(code)) + `"}`,
		"escaped in a string":     `{"code":` + escaped + `,"s":"{\"x\":\"ab\\/cd\\u003ce-77Zk\"}"}`,
		"pairs in a string":       `{"s":"[[\"code\",\"x\"]]","copy":` + escaped + `}`,
		"object in a string":      `{"s":"{\"code\":{\"v\":\"ab\\/cd\\u003ce-77Zk\"}}","copy":` + escaped + `}`,
		"XML":                     `{"s":"<code>ab&#47;cd&lt;e-77Zk</code>","copy":` + escaped + `}`,
		"a word before":           `{"s":"the code is","copy":` + escaped + `}`,
		"byte order mark":         "\ufeff" + `{"code":` + escaped + `,"copy":` + escaped + `}`,
	} {
		for place, m := range map[string]events.Message{
			"body":   {Subject: "callback.received", Data: []byte(in)},
			"header": {Subject: "callback.received", Data: []byte(`{"state":"s"}`), Header: header("X-Body", in, "X-Upstream", "shop-7")},
		} {
			got := redact(m)
			text := show(got)
			for _, form := range []string{code, escaped[1 : len(escaped)-1], url.QueryEscape(code), `ab/cd\u003ce`, `u003ce-77Zk`, "e-77Zk", whole, whole[:20], base64.StdEncoding.EncodeToString([]byte(code))} {
				if strings.Contains(text, form) {
					t.Errorf("%s, %s: %q is in %s", name, place, form, text)
				}
			}
			if place == "header" && (got.Header["X-Upstream"][0] != "shop-7" || string(got.Data) != `{"state":"s"}`) {
				t.Errorf("%s: more than the code went: %s", name, text)
			}
		}
	}
}

func TestWhatIsKnownOfACodeStaysLegible(t *testing.T) {
	for in, want := range map[string]string{
		`{"code":{"value":"canary-77","state":"abcdefgh","flow_id":"flow-id-1"},"state":"abcdefgh","flow_id":"flow-id-1","provider_id":"p-123456","x":"canary-77"}`: `{"state":"abcdefgh","flow_id":"flow-id-1","provider_id":"p-123456","x":"[redacted]"}`,
		`{"state":"s","success":true,"codes":["canary-1","canary-2"],"y":["canary-2"]}`:                                                                             `{"state":"s","success":true,"y":["[redacted]"]}`,
		`{"state":"abcdefghijkl","note":"nothing of the sort"}`:                                                                                                     `{"state":"abcdefghijkl","note":"nothing of the sort"}`,
		`{"state":"postcode 1","code":"canary-77","callback_url":"/cb?state=postcode+1&code=canary-77"}`:                                                            `{"state":"postcode 1","callback_url":"/cb?state=postcode+1"}`,
		`{"state":"code=canary-77","flow_id":"canary-77"}`:                                                                                                          `{"state":"","flow_id":"[redacted]"}`,
		"\ufeff" + `{"state":"s"}`:                   "\ufeff" + `{"state":"s"}`,
		"\ufeff" + `{"state":"s","code":"canary-1"}`: `{"state":"s"}`,
	} {
		if got := redact(events.Message{Subject: "callback.received", Data: []byte(in)}); string(got.Data) != want {
			t.Errorf("%s became\n%s, want\n%s", in, got.Data, want)
		}
	}
}

// TestNoFormOfACallbackKeepsItsCode plants a random code in every form a
// callback can have, and more than once.
func TestNoFormOfACallbackKeepsItsCode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		code := rapid.StringMatching(`[A-Za-z0-9._~+/=%&?#" -]{8,40}`).Draw(t, "code")
		code = "K" + code + "Z"
		m := plant(t, code)
		if got := show(redact(m)); leaks(got, code) {
			t.Fatalf("code %q\n in %s\nout %s", code, show(m), got)
		}
	})
}

func plant(t *rapid.T, code string) events.Message {
	quote := func(s string) string {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	callbackURL := "https://a.example/cb?state=s&code=" + url.QueryEscape(code) + "&success=true"
	data := rapid.SampledFrom([]string{
		`{"state":"s","code":` + quote(code) + `}`,
		`{"callback_url":` + quote(callbackURL) + `}`,
		`{"callback_url":` + quote(callbackURL) + `,"code":` + quote(code) + `,"reason":` + quote("see "+code) + `}`,
		`{"x":[{"y":{"Code":` + quote(code) + `}}],"again":[` + quote(code) + `]}`,
		`{"wrapped":` + quote(`{"code":`+quote(code)+`}`) + `}`,
		`{"wrapped":` + quote("/login?next="+url.QueryEscape(callbackURL)) + `}`,
	}).Draw(t, "data")
	m := events.Message{Subject: events.TypeCallbackReceived, Header: map[string][]string{}}
	if rapid.Bool().Draw(t, "header") {
		m.Header["Nats-Msg-Id"] = []string{"id-" + url.QueryEscape(code)}
		m.Header["X-Original-Url"] = []string{callbackURL}
	}
	switch rapid.IntRange(0, 3).Draw(t, "mode") {
	case 0:
		m.Data = []byte(data)
	case 1:
		m.Data = []byte(structured(map[string]string{"type": `"callback.received"`, "data": data}))
	case 2:
		m.Data = []byte(structured(map[string]string{"data": "", "data_base64": `"` + base64.StdEncoding.EncodeToString([]byte(data)) + `"`}))
	case 3:
		m.Data = []byte(data[:len(data)-1]) // cut off
	}
	return m
}

// redact is RedactCallback for a message of which nothing was said.
func redact(m events.Message) events.Message {
	m, _ = events.RedactCallback(m)
	return m
}

func TestTextsAboutACallbackLoseItsCode(t *testing.T) {
	m := events.Message{
		Subject: "callback.received", Header: header("X-Referer", "/cb?code=canary-code-2"),
		Data: []byte(`{"state":"abcdef","code":"canary-code-1","status":"refused"}`),
	}
	for text, want := range map[string]string{
		"":                             "",
		"flow: reading the connection": "flow: reading the connection",
		"exchanging canary-code-1":     "[redacted]",
		"exchanging canary%2Dcode%2D1": "[redacted]",
		"known from a header only: canary-code-2": "[redacted]",
		"GET /x?code=stranger&state=s":            "GET /x?state=s",
		"status code: refused":                    "[redacted]",
	} {
		got, texts := events.RedactCallback(m, "first", text, "last")
		if len(texts) != 3 || texts[0] != "first" || texts[1] != want || texts[2] != "last" {
			t.Errorf("%q became %q, want %q", text, texts, want)
		}
		// What an error calls a code is none of the message's.
		if alone := redact(m); string(got.Data) != string(alone.Data) || !strings.Contains(string(got.Data), "refused") {
			t.Errorf("after %q the body is %s, without it %s", text, got.Data, alone.Data)
		}
	}
}

// BenchmarkRedactCallback is of a callback as large as a message can be.
func BenchmarkRedactCallback(b *testing.B) {
	m := events.Message{Subject: "callback.received", Data: []byte(`{"state":"s","code":"canary-code-1","pad":"` + strings.Repeat("x", 1<<20) + `"}`)}
	b.SetBytes(int64(len(m.Data)))
	for b.Loop() {
		_ = redact(m)
	}
}
