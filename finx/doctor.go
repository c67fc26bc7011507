package finx

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/finx-connector/finx-connector/internal/guard"
	"github.com/finx-connector/finx-connector/internal/retry"
)

// Told is what an answer tells about whether finX accepts our credentials.
type Told string

// What one answer can tell.
const (
	Accepted Told = "accepted"
	Refused  Told = "refused"
	Untold   Told = "untold" // the answer is about something else
)

// Diagnosis is what one question to finX has shown. No secret is in it.
type Diagnosis struct {
	Host    string   // of the base URL
	Proxy   string   // host of the proxy that was used; "" for none
	Found   []string // addresses of Host, or of the proxy; nil when the name was not looked up
	Stage   string   // how far a question without an answer came: "name", "connection", "TLS", "answer"
	Err     error    // why there was no answer
	TLS     string   // version of the protocol; "" without TLS
	CertEnd time.Time
	Latency time.Duration // of the answer, with the connection made for it

	Status      int       // 0: no answer
	Date        time.Time // finX's clock, to the second; zero when it did not say
	Heard       time.Time // ours, when the answer came
	Credentials Told
	IsFinX      bool   // the answer is finX's as far as can be told
	Standing    string // why finX as a whole is as good as away, or asks to wait; "" when it works
	Throttled   bool   // of Standing: it asks to wait
	Says        error  // a refusal, in safe words
}

// Diagnose asks what Probe asks, once and past the gate: a GET of Paths.Probe as the
// client, which is about no user and spends nothing. It takes Timeouts.Accounts at
// most.
//
// Only an answer to that path tells whether the credentials are accepted. Where finX
// has no such path, or keeps it from this client (403, 404), nobody can tell without
// a call that spends something, and Credentials is Untold.
func (c *Client) Diagnose(ctx context.Context) Diagnosis {
	k := call{
		name: callProbe, doing: "asking for a sign of life", auth: asClient,
		method: http.MethodGet, path: c.cfg.Paths.Probe, timeout: c.cfg.Timeouts.Accounts,
	}
	d := Diagnosis{Credentials: Untold}
	limited, cancel := retry.Within(ctx, k.timeout, timeoutError(k.timeout))
	defer cancel()
	var seen wayThere
	req, err := c.request(httptrace.WithClientTrace(limited, seen.hooks()), k)
	if err != nil {
		d.Stage, d.Err = "name", err
		return d
	}
	d.Host = req.URL.Host
	if c.cfg.Proxy != nil {
		if proxy, err := c.cfg.Proxy(req); err == nil && proxy != nil {
			d.Proxy = proxy.Host
		}
	}
	asked := time.Now()
	resp, err := c.http.Do(req)
	d.Latency, d.Heard = time.Since(asked), time.Now()
	seen.tell(&d)
	if err != nil {
		_, d.Err = c.noAnswer(ctx, limited, k, false, err)
		return d
	}
	defer resp.Body.Close()
	defer drain(resp.Body)
	d.Stage = ""
	c.readAnswer(&d, k, resp)
	return d
}

func (c *Client) readAnswer(d *Diagnosis, k call, resp *http.Response) {
	d.Status = resp.StatusCode
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		d.Date = at
	}
	if d.Status >= 200 && d.Status <= 299 {
		d.IsFinX = beginsJSON(errorBodyBytes(resp))
		if d.IsFinX {
			d.Credentials = Accepted
		} else {
			d.Standing = notFinX(d.Status)
		}
		return
	}
	about, err := c.refusal(k, "", resp)
	d.Says = err
	refused, ok := errors.AsType[*APIError](err)
	d.IsFinX = ok && (refused.Code != 0 || refused.OAuthError != "" || asksBasic(resp.Header))
	switch {
	case errors.Is(err, ErrClientCredentials) && d.Status != http.StatusForbidden:
		d.Credentials = Refused
	case about.Kind == guard.Away && ok && isReached(refused):
		// See isReached: the path may be missing, or not be for this client.
	case about.Kind == guard.Away, about.Kind == guard.Throttled:
		d.Standing, d.Throttled = about.Why, about.Kind == guard.Throttled
	}
}

// beginsJSON reports whether a body that may be cut off is a JSON object or list.
func beginsJSON(b []byte) bool {
	d := jsontext.NewDecoder(bytes.NewReader(b))
	switch d.PeekKind() {
	case '{', '[':
		_, err := d.ReadToken()
		return err == nil
	}
	return false
}

// wayThere learns from net/http how far a request came. Its hooks may be called after
// the request has been given up.
type wayThere struct {
	mu    sync.Mutex
	stage string
	found []string
	tls   string
	end   time.Time
}

func (w *wayThere) at(stage string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stage = stage
}

func (w *wayThere) hooks() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn:      func(string) { w.at("connection") },
		DNSStart:     func(httptrace.DNSStartInfo) { w.at("name") },
		ConnectStart: func(string, string) { w.at("connection") },
		DNSDone: func(info httptrace.DNSDoneInfo) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, a := range info.Addrs {
				w.found = append(w.found, a.String())
			}
		},
		TLSHandshakeStart: func() { w.at("TLS") },
		TLSHandshakeDone: func(state tls.ConnectionState, err error) {
			if err != nil {
				return
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.stage, w.tls = "answer", tls.VersionName(state.Version)
			if len(state.PeerCertificates) > 0 {
				w.end = state.PeerCertificates[0].NotAfter
			}
		},
		GotConn: func(httptrace.GotConnInfo) { w.at("answer") },
	}
}

func (w *wayThere) tell(d *Diagnosis) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d.Stage, d.Found, d.TLS, d.CertEnd = w.stage, w.found, w.tls, w.end
}
