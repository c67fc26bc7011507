package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/finx-connector/finx-connector/finx/finxtest"
)

// Who we are to the sandbox. It opens nothing outside of this machine.
const (
	clientID     = "bench"
	clientSecret = "bench-secret"
	redirectURI  = "https://app.example/callback"
)

// bank is finX as the measured process sees it: the sandbox, with the time that
// a call takes, and a count of the calls. Links and tokens are the sandbox's.
// Accounts and transactions it is asked for once; after that they come out of a
// recording, the same to everybody, because making them up each time would take
// these two cores longer than the connector takes.
type bank struct {
	sandbox *finxtest.Sandbox
	latency time.Duration
	calls   counter
	data    *recording
	token   string // of the user whose data are recorded

	mu     sync.Mutex
	issued map[[sha256.Size]byte]struct{} // access tokens
}

// recording holds answers by path, count and offset. All runs of a scenario
// share one. It is safe for concurrent use.
type recording struct {
	mu      sync.Mutex
	answers map[string][]byte
}

// newBank returns a bank on which each user has one account.
func newBank(ctx context.Context, s scenario, data *recording) (*bank, error) {
	b := &bank{
		sandbox: finxtest.New(finxtest.Options{
			ClientID: clientID, ClientSecret: clientSecret, Seed: 1, AccessLifetime: s.accessLifetime,
			HistoryEnd: time.Now().UTC().AddDate(0, 0, -1), // the same bytes on every side
			Shape:      finxtest.Shape{PerAccount: []int{s.Transactions}, Days: 365},
		}),
		latency: s.Latency, data: data, issued: map[[sha256.Size]byte]struct{}{},
	}
	var err error
	b.token, err = b.login(ctx, "recorded@example.com")
	return b, err
}

// ServeHTTP answers a call after the time that it takes.
func (b *bank) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.calls.add(r.Method + " " + shapeOf(r.URL.Path))
	if b.latency > 0 {
		timer := time.NewTimer(b.latency)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		}
	}
	switch {
	case r.URL.Path == "/auth/token":
		b.answerToken(w, r)
	case strings.HasPrefix(r.URL.Path, "/rest/") && b.knows(r):
		b.answerRecorded(w, r)
	default:
		b.sandbox.ServeHTTP(w, r)
	}
}

// shapeOf is a path without the id in it.
func shapeOf(path string) string {
	if rest, ok := strings.CutPrefix(path, "/rest/accounts/"); ok {
		_, tail, _ := strings.Cut(rest, "/")
		return "/rest/accounts/{id}/" + tail
	}
	return path
}

// answerToken lets the sandbox answer and remembers the token that it gave out.
func (b *bank) answerToken(w http.ResponseWriter, r *http.Request) {
	var a answer
	b.sandbox.ServeHTTP(&a, r)
	var tokens struct {
		Access string `json:"access_token"`
	}
	if json.Unmarshal(a.body.Bytes(), &tokens) == nil && tokens.Access != "" {
		b.mu.Lock()
		b.issued[sha256.Sum256([]byte(tokens.Access))] = struct{}{}
		b.mu.Unlock()
	}
	a.passOn(w)
}

// knows reports whether a call carries an access token of this bank.
func (b *bank) knows(r *http.Request) bool {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.issued[sha256.Sum256([]byte(token))]
	return ok
}

func (b *bank) answerRecorded(w http.ResponseWriter, r *http.Request) {
	body, err := b.recorded(r.Context(), r.URL.Path, r.URL.Query().Get("count"), r.URL.Query().Get("offset"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) //nolint:gosec // JSON of a sandbox, for programs of ours
}

// recorded returns what the sandbox answers to the recorded user, oldest first.
func (b *bank) recorded(ctx context.Context, path, count, offset string) ([]byte, error) {
	key := path + " " + count + " " + offset
	b.data.mu.Lock()
	body, ok := b.data.answers[key]
	b.data.mu.Unlock()
	if ok {
		return body, nil
	}
	target := path
	if count != "" {
		target += "?" + url.Values{"count": {count}, "offset": {offset}, "sort": {"asc"}, "include_pending": {"true"}}.Encode()
	}
	body, err := b.ask(ctx, http.MethodGet, target, "Bearer "+b.token, nil)
	if err == nil {
		b.data.mu.Lock()
		b.data.answers[key] = body
		b.data.mu.Unlock()
	}
	return body, err
}

// ask calls the sandbox from inside, uncounted and at once.
func (b *bank) ask(ctx context.Context, method, target, authorization string, body any) ([]byte, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://sandbox"+target, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	if authorization == "" {
		r.SetBasicAuth(clientID, clientSecret)
	} else {
		r.Header.Set("Authorization", authorization)
	}
	var a answer
	b.sandbox.ServeHTTP(&a, r)
	if a.status != http.StatusOK && a.status != http.StatusCreated {
		return nil, fmt.Errorf("the sandbox answers %s with status %d", r.URL.Path, a.status)
	}
	return a.body.Bytes(), nil
}

// approve plays the human and returns the state and the code that come back.
func (b *bank) approve(location string) (state, code string, err error) {
	back, err := b.sandbox.Approve(location)
	if err != nil {
		return "", "", err
	}
	q := back.Query()
	if q.Get("code") == "" {
		return "", "", errors.New("the sandbox gives no code")
	}
	return q.Get("state"), q.Get("code"), nil
}

// link makes a widget link past the wire.
func (b *bank) link(ctx context.Context, user, state string) (location string, err error) {
	raw, err := b.ask(ctx, http.MethodPost, "/ongoing/access", "", map[string]string{"redirect_uri": redirectURI, "user_id": user, "state": state})
	if err != nil {
		return "", err
	}
	var link struct {
		Location string `json:"location"`
	}
	err = json.Unmarshal(raw, &link)
	return link.Location, err
}

// login returns an access token of a user.
func (b *bank) login(ctx context.Context, user string) (string, error) {
	location, err := b.link(ctx, user, "login")
	if err != nil {
		return "", err
	}
	_, code, err := b.approve(location)
	if err != nil {
		return "", err
	}
	raw, err := b.ask(ctx, http.MethodPost, "/auth/token", "", map[string]string{"grant_type": "authorization_code", "code": code, "redirect_uri": redirectURI})
	if err != nil {
		return "", err
	}
	var tokens struct {
		Access string `json:"access_token"`
	}
	err = json.Unmarshal(raw, &tokens)
	return tokens.Access, err
}

// answer holds an HTTP answer.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header {
	if a.header == nil {
		a.header = http.Header{}
	}
	return a.header
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

func (a *answer) passOn(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body.Bytes())
}

// counter counts by name. It is safe for concurrent use.
type counter struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counter) add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[name]++
}

// take returns the counts and begins anew.
func (c *counter) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.n
	c.n = nil
	return n
}
