package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/telemetry/telemetrytest"
)

// echo lets a bank answer the next call to a path with what it was sent: the
// worst that an error body can do. text frames what comes back.
type echo struct {
	mu     sync.Mutex
	method string
	path   string
	status int
	text   string
	left   int // how many calls are still to be answered so
	said   int // how many were
}

func (e *echo) next(method, path string, status, n int, text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.method, e.path, e.status, e.left, e.text = method, path, status, n, text
}

func (e *echo) reply(p passing) (int, string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.left == 0 || !p.is(e.method, e.path) {
		return 0, ""
	}
	e.left--
	e.said++
	sent := map[string]any{}
	_ = json.Unmarshal(p.Body, &sent)
	said := fmt.Sprintf("%s %v %s", p.Header.Get("Authorization"), sent, p.Path)
	quoted, _ := json.Marshal(said)
	return e.status, strings.ReplaceAll(e.text, "ECHO", string(quoted[1:len(quoted)-1]))
}

// TestSecretsAppearNowhere runs successes and failures of every kind with the
// real programs and then looks for every secret in everything they left behind.
func TestSecretsAppearNowhere(t *testing.T) {
	r := newRig(t, options{
		sandbox: finxtest.Options{AccessLifetime: time.Minute, Shape: finxtest.Shape{Accounts: 2, Transactions: 30}},
		env:     map[string]string{"FINX_RETRY_BUDGET": "1s", "FINX_THROTTLE_DEFAULT": "1s", "MAX_ATTEMPTS": "2", "RETRY_DELAY_MAX": "100ms"},
	})
	traces := telemetrytest.Start(t)
	r.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = traces.URL
	e := &echo{}
	r.bank.answer(e.reply)
	p := r.serve()
	var codes []string
	codes = append(codes, r.playSuccesses(e)...)
	codes = append(codes, r.playFailures(e)...)
	r.playBadCallbacks()
	r.idle(events.StreamCallbacks, "finx-callbacks")
	r.idle(events.StreamRequests, "finx-syncs")

	places := r.stores()
	for _, path := range []string{"/metrics", "/readyz", "/healthz"} {
		_, body, err := get(t, p.addr, path)
		if err != nil {
			t.Fatal(err)
		}
		places[path] = body
	}
	r.commands(places)
	if code, _ := p.term(within); code != 0 {
		t.Errorf("exit code %d", code)
	}
	places["log of finx-connector serve"] = p.out.String()
	places["traces"] = string(traces.Raw())
	if n := len(traces.Spans()); n < 100 {
		t.Errorf("only %d spans: the test has gone blind", n)
	}
	needles := r.secrets(codes)
	r.search(places, needles)
	t.Logf("%d secrets in %d places", len(needles), len(places))
	if len(needles) < 25 || len(r.seen.lettersSoFar()) < 5 {
		t.Errorf("only %d secrets and %d dead letters: the test has gone blind", len(needles), len(r.seen.lettersSoFar()))
	}
	if e.said != 9 {
		t.Errorf("%d calls were answered with what they had sent, want all 9", e.said)
	}
}

// playSuccesses connects users while finX stumbles, and refreshes.
func (r *rig) playSuccesses(e *echo) (codes []string) {
	r.t.Helper()
	link := r.connect("canary-1@example.com")
	back := r.approve(link.Location)
	codes = append(codes, back.Query().Get("code"))
	e.next(http.MethodPost, "/auth/token", http.StatusBadGateway, 1, "<html>ECHO</html>") // the exchange is tried once more
	r.callback(back)
	r.completed(link.ConnectionID, 1)
	e.next(http.MethodGet, "/rest/accounts", http.StatusUnauthorized, 1, `{"error":{"code":1003,"group":"client","message":"ECHO","description":"ECHO"}}`)
	r.send(events.TypeSyncRequested, syncData(link.ConnectionID))
	r.completed(link.ConnectionID, 2)
	e.next(http.MethodPost, "/auth/token", http.StatusServiceUnavailable, 1, `{"error":"temporarily_unavailable","error_description":"ECHO"}`)
	r.send(events.TypeSyncRequested, syncData(link.ConnectionID))
	r.completed(link.ConnectionID, 3)
	e.next(http.MethodGet, "/transactions", http.StatusInternalServerError, 2, `{"error":{"code":30000,"message":"ECHO"}}`)
	r.send(events.TypeSyncRequested, syncData(link.ConnectionID))
	r.completed(link.ConnectionID, 4)
	return codes
}

// playFailures ends connections and fetches in every way there is.
func (r *rig) playFailures(e *echo) (codes []string) {
	r.t.Helper()
	e.next(http.MethodPost, "/ongoing/access", http.StatusBadRequest, 1, `{"error":{"code":1000,"group":"client","message":"ECHO","description":"ECHO","data":{"user_id":["ECHO"]}}}`)
	id := r.send(events.TypeConnectRequested, map[string]any{"user_id": "canary-2", "redirect_uri": redirectURI})
	r.event("refused link", func(x event) bool { return x.Type == events.TypeConnectionFailed && x.CausationID == id })

	link := r.connect("canary-3@example.com")
	back := r.approve(link.Location)
	codes = append(codes, back.Query().Get("code"))
	e.next(http.MethodPost, "/auth/token", http.StatusBadRequest, 1, `{"error":"invalid_grant","error_description":"ECHO"}`)
	r.callback(back)
	r.event("refused code", func(x event) bool {
		return x.Type == events.TypeConnectionFailed && x.ConnectionID == link.ConnectionID
	})

	link = r.connect("canary-4@example.com")
	r.callback(r.left(r.sandbox.Cancel(link.Location)))
	r.event("cancelled", func(x event) bool {
		return x.Type == events.TypeConnectionFailed && x.ConnectionID == link.ConnectionID
	})

	link = r.connect("canary-5@example.com")
	back = r.approve(link.Location)
	codes = append(codes, back.Query().Get("code"))
	r.callback(back)
	r.completed(link.ConnectionID, 1)
	e.next(http.MethodGet, "/transactions", http.StatusBadRequest, 1, `{"error":{"code":1000,"message":"ECHO"}}`)
	r.send(events.TypeSyncRequested, syncData(link.ConnectionID))
	r.event("failed fetch", func(x event) bool { return x.Type == events.TypeFetchFailed && x.ConnectionID == link.ConnectionID })

	e.next(http.MethodPost, "/auth/token", http.StatusBadRequest, 1, `{"error":"invalid_grant","error_description":"ECHO"}`)
	r.send(events.TypeSyncRequested, syncData(link.ConnectionID))
	asked := r.event("request to authorize again", func(x event) bool { return x.Type == events.TypeReauthorizationRequired })
	back = r.approve(asked.Location)
	codes = append(codes, back.Query().Get("code"))
	r.callback(back)
	r.completed(link.ConnectionID, 2)

	stream, seq := r.publish(events.TypeCallbackReceived, encode(r.t, map[string]any{"state": link.State, "success": true, "code": codes[0]}))
	r.letter(stream, seq)
	return codes
}

// playBadCallbacks sends what ends as dead letters, with the planted code in it.
func (r *rig) playBadCallbacks() {
	r.t.Helper()
	r.wait()
	for _, b := range badCallbacks() {
		stream, seq, _ := r.publishBad(events.TypeCallbackReceived, b)
		r.letter(stream, seq)
	}
}

// needle is a secret, or a piece of one that nobody else has.
type needle struct{ what, value string }

// secrets collects everything that was given out, and pieces of it: an error
// text may have been cut.
func (r *rig) secrets(codes []string) (all []needle) {
	r.t.Helper()
	add := func(what, value string) {
		if value == "" {
			return
		}
		all = append(all, needle{what, value})
		if escaped := url.QueryEscape(value); escaped != value {
			all = append(all, needle{what + ", escaped", escaped})
		}
		if n := len(value); n >= 60 {
			all = append(all, needle{what + ", its middle", value[n/2-12 : n/2+12]}, needle{what + ", its end", value[n-24:]})
		}
	}
	add("client secret", clientSecret)
	add("Basic credentials", basic())
	add("Vault token", r.env["VAULT_TOKEN"])
	add("planted code", plantedCode)
	for _, code := range codes {
		add("code", code)
	}
	for _, call := range r.bank.answered("POST", "/auth/token") {
		var tokens map[string]any
		if json.Unmarshal(call.Answer, &tokens) == nil {
			access, _ := tokens["access_token"].(string)
			refresh, _ := tokens["refresh_token"].(string)
			add("access token", access)
			add("refresh token", refresh)
		}
	}
	for _, path := range []string{"/ongoing/access", "/ongoing/sync"} {
		for _, call := range r.bank.answered("POST", path) {
			var link struct{ Location string }
			if json.Unmarshal(call.Answer, &link) != nil {
				continue
			}
			if u, err := url.Parse(link.Location); err == nil {
				add("widget JWT", u.Query().Get("token"))
			}
		}
	}
	return all
}

// stores returns everything that lies on the broker, but for what upstream put
// there and for the one member that hands a link out.
func (r *rig) stores() map[string]string {
	r.t.Helper()
	places := map[string]string{}
	for _, m := range r.seen.messages() {
		if m.Stream == events.StreamCallbacks {
			continue // codes stay where upstream put them
		}
		text := m.Subject + string(encode(r.t, m.Header)) + string(m.Data)
		if typ, _ := r.codec.TypeOf(m.Subject); m.Stream == events.StreamEvents && (typ == events.TypeWidgetLinkCreated || typ == events.TypeReauthorizationRequired) {
			var e struct {
				Data struct {
					Location json.RawMessage `json:"location"`
				} `json:"data"`
			}
			if err := json.Unmarshal(m.Data, &e); err != nil {
				r.t.Fatal(err)
			}
			text = strings.Replace(text, string(e.Data.Location), `""`, 1)
		}
		places[fmt.Sprintf("%s message %d on %s", m.Stream, m.Sequence, m.Subject)] = text
	}
	names := r.js.StreamNames(r.t.Context())
	for name := range names.Name() {
		if strings.HasPrefix(name, "KV_") || strings.HasPrefix(name, "OBJ_") {
			r.raw(name, places)
		}
	}
	if err := names.Err(); err != nil {
		r.t.Fatal(err)
	}
	return places
}

// raw reads every message of a stream, also those that a key's newer ones hide.
func (r *rig) raw(name string, places map[string]string) {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), name)
	if err != nil {
		r.t.Fatal(err)
	}
	state := s.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq && seq > 0; seq++ {
		if m, err := s.GetMsg(r.t.Context(), seq); err == nil {
			places[fmt.Sprintf("%s message %d", name, seq)] = m.Subject + string(encode(r.t, m.Header)) + string(m.Data)
		}
	}
}

// commands runs what an operator would, and keeps what was printed.
func (r *rig) commands(places map[string]string) {
	r.t.Helper()
	run := func(args ...string) string {
		r.t.Helper()
		c := r.run("finx-connector", args...)
		if code := c.wait(within); code != 0 {
			r.t.Errorf("finx-connector %v: exit code %d: %s", args, code, tail(c.out.String(), 500))
		}
		places["finx-connector "+strings.Join(args, " ")] = c.out.String()
		return c.out.String()
	}
	run("version")
	run("settings", "list")
	run("streams", "check")
	for _, format := range []string{"table", "json"} {
		run("connections", "list", "-o", format)
		run("dlq", "list", "-o", format)
	}
	for _, e := range r.seen.of(events.TypeWidgetLinkCreated, "") {
		run("connections", "show", e.ConnectionID)
		run("connections", "show", e.ConnectionID, "-o", "json")
	}
	for _, m := range r.seen.lettersSoFar() {
		if header(m, consumer.HeaderReason) != "oversize" {
			run("dlq", "show", fmt.Sprint(m.Sequence))
		}
	}
}

func (r *rig) search(places map[string]string, needles []needle) {
	r.t.Helper()
	for _, n := range needles {
		for _, place := range find(places, n) {
			r.t.Errorf("%s is in: %s", n.what, place)
		}
	}
}

// find returns the places that have a needle, with what stands before it.
func find(places map[string]string, n needle) (found []string) {
	for place, text := range places {
		if i := strings.Index(text, n.value); i >= 0 {
			found = append(found, place+": …"+text[max(0, i-120):i]+"«here»")
		}
	}
	return found
}

func basic() string {
	req, _ := http.NewRequest(http.MethodGet, "http://x", nil)
	req.SetBasicAuth(clientID, clientSecret)
	_, credentials, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	return credentials
}
