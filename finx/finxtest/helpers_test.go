package finxtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// client speaks to a sandbox over HTTP as the connector would.
type client struct {
	t    testing.TB
	base string
	http *http.Client
}

func newClient(t testing.TB, base string) *client {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &client{t: t, base: base, http: &http.Client{
		Transport:     tr,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// start is a sandbox and a client of it.
func start(t testing.TB, o Options) (*Sandbox, *client) {
	t.Helper()
	s, base := Start(t, o)
	return s, newClient(t, base)
}

// answer is a whole HTTP answer.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request; err is what the transport or the body said.
func (c *client) do(method, path, bearer string, body any) (answer, error) {
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		j, err := json.Marshal(b)
		if err != nil {
			c.t.Fatal(err)
		}
		reader = bytes.NewReader(j)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, reader)
	if err != nil {
		c.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	} else {
		req.SetBasicAuth("sandbox", "sandbox-secret")
	}
	return c.send(req)
}

func (c *client) send(req *http.Request) (answer, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, b}, err
}

// call sends a request that must be answered with that status.
func (c *client) call(status int, method, path, bearer string, body any) answer {
	c.t.Helper()
	a, err := c.do(method, path, bearer, body)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	if a.status != status {
		c.t.Fatalf("%s %s: status %d, want %d: %.300s", method, path, a.status, status, a.body)
	}
	return a
}

func (a answer) decode(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("decoding %.200q: %v", a.body, err)
	}
}

// finxError returns code, group and the names of the fields in data.
func (a answer) finxError(t testing.TB) (code int, group string, fields []string) {
	t.Helper()
	var e struct {
		Error *struct {
			Code        int
			Data        map[string][]string
			Description string
			Group       string
		}
	}
	a.decode(t, &e)
	if e.Error == nil || e.Error.Data == nil || e.Error.Description == "" {
		t.Fatalf("not finX's error shape: %s", a.body)
	}
	for f := range e.Error.Data {
		fields = append(fields, f)
	}
	return e.Error.Code, e.Error.Group, fields
}

type link struct{ Location, ID string }

func (c *client) link(path string, body map[string]any) link {
	c.t.Helper()
	var l link
	c.call(http.StatusCreated, "POST", path, "", body).decode(c.t, &l)
	return l
}

// connect makes a link for a user, approves it and returns the code.
func (c *client) connect(s *Sandbox, userID string) (code string) {
	c.t.Helper()
	l := c.link("/ongoing/access", map[string]any{"redirect_uri": "https://app.example/cb", "user_id": userID, "state": "st", "save_secrets": true})
	u, err := s.Approve(l.Location)
	if err != nil {
		c.t.Fatal(err)
	}
	return u.Query().Get("code")
}

type tokens struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	TokenType    string `json:"token_type"`
	Scope        string `json:"scope"`
	ExpiresIn    int    `json:"expires_in"`
}

func exchangeBody(code string) map[string]string {
	return map[string]string{"grant_type": "authorization_code", "code": code}
}

func refreshBody(token string) map[string]string {
	return map[string]string{"grant_type": "refresh_token", "refresh_token": token}
}

func (c *client) tokens(body any) tokens {
	c.t.Helper()
	var tk tokens
	c.call(http.StatusOK, "POST", "/auth/token", "", body).decode(c.t, &tk)
	return tk
}

// refused sends a token request that must be answered invalid_grant.
func (c *client) refused(body any) {
	c.t.Helper()
	var e struct{ Error string }
	c.call(http.StatusBadRequest, "POST", "/auth/token", "", body).decode(c.t, &e)
	if e.Error != "invalid_grant" {
		c.t.Fatalf("error %q, want invalid_grant", e.Error)
	}
}

// login connects a user and returns the tokens.
func (c *client) login(s *Sandbox, userID string) tokens {
	c.t.Helper()
	return c.tokens(exchangeBody(c.connect(s, userID)))
}

func (c *client) alive(access string) bool {
	c.t.Helper()
	a, err := c.do("GET", "/rest/accounts", access, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return a.status == http.StatusOK
}

type accountView struct {
	AccountID string `json:"account_id"`
	AccessID  string `json:"access_id"`
	IBAN      string `json:"iban"`
	Type      string `json:"type"`
	AutoSync  bool   `json:"auto_sync"`
	Balance   *struct{ Balance json.Number }
	Status    struct {
		SyncedAt    string `json:"synced_at"`
		SucceededAt string `json:"succeeded_at"`
		Message     string
	}
}

func (c *client) accounts(access string) []accountView {
	c.t.Helper()
	var v struct{ Accounts []accountView }
	c.call(http.StatusOK, "GET", "/rest/accounts", access, nil).decode(c.t, &v)
	return v.Accounts
}

type txView struct {
	ID         string      `json:"transaction_id"`
	AccountID  string      `json:"account_id"`
	Amount     json.Number `json:"amount"`
	Booked     bool        `json:"booked"`
	BookedAt   string      `json:"booked_at"`
	CreatedAt  string      `json:"created_at"`
	ModifiedAt string      `json:"modified_at"`
}

// list reads one page; params are name, value, name, value …
func (c *client) list(access string, params ...any) []txView {
	c.t.Helper()
	v := url.Values{}
	for i := 0; i < len(params); i += 2 {
		v.Set(params[i].(string), fmt.Sprint(params[i+1]))
	}
	var page struct{ Transactions *[]txView }
	c.call(http.StatusOK, "GET", "/rest/transactions?"+v.Encode(), access, nil).decode(c.t, &page)
	if page.Transactions == nil {
		c.t.Fatal("no transactions member")
	}
	return *page.Transactions
}

func ids(list []txView) []string {
	out := make([]string, 0, len(list))
	for _, t := range list {
		out = append(out, t.ID)
	}
	return out
}

func isDropped(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || (err != nil && strings.Contains(err.Error(), "connection reset"))
}
