package finx

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/guard"
	"github.com/finx-connector/finx-connector/internal/retry"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/internal/telemetry"
)

// call describes one call; do makes one attempt at it.
type call struct {
	name    string // metric label
	doing   string // gerund and object, for errors
	auth    auth
	method  string
	path    string // below BaseURL, escaped
	query   url.Values
	body    any           // encoded as JSON; nil for none
	bearer  secret.Text   // of an asUser call
	inBody  []secret.Text // the secrets that body holds
	timeout time.Duration
	// priority is that of its attempts where they have to wait for a turn.
	priority guard.Priority
	// holds names the member that an answer of finX has: what comes without it was
	// not made by finX.
	holds string
}

// do makes exactly one attempt, when its turn has come. It knows nothing of
// repetition. The error carries its verdict.
func (c *Client) do(ctx context.Context, k call, read func(*http.Response) error) error {
	end, err := c.turn(ctx, k)
	if err != nil {
		return err
	}
	var about guard.Answer
	defer func() { end(about) }() // also after a panic: the turn is one of few
	about, err = c.attempt(ctx, k, read)
	return err
}

// attempt builds a fresh request, sends it, and lets read take in a 2xx answer.
// It says what came of it about finX, and about the call.
func (c *Client) attempt(ctx context.Context, k call, read func(*http.Response) error) (about guard.Answer, err error) {
	measured := c.metrics.begin(k.name)
	ctx, span := telemetry.Start(ctx, telemetry.Client, spanOf+k.name)
	defer func() {
		measured(err)
		span.End(err)
	}()
	limited, cancel := retry.Within(ctx, k.timeout, timeoutError(k.timeout))
	defer cancel()
	var sent sendTrace
	req, err := c.request(httptrace.WithClientTrace(limited, sent.hooks()), k)
	if err != nil {
		return guard.Answer{}, fault.Permanent(fault.Malformed, fmt.Errorf("finx: %s: building the request: %w", k.doing, err))
	}
	c.describe(span, k, req)
	resp, err := c.http.Do(req)
	if err != nil {
		return c.noAnswer(ctx, limited, k, sent.maybe(), err)
	}
	defer resp.Body.Close()
	defer drain(resp.Body)
	span.Int(telemetry.KeyStatus, resp.StatusCode)
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return c.refusal(k, req.Header.Get(headerRequestID), resp)
	}
	if err := read(resp); err != nil {
		return c.unusable(ctx, limited, k, resp, err)
	}
	return guard.Answer{Kind: guard.Alive}, nil
}

// repeat makes attempts until the verdict or Config.RetryBudget ends it. Refused
// credentials end it too, although their verdict is Retry: they have to be
// replaced first, which the caller or the operator does.
func (c *Client) repeat(ctx context.Context, name string, attempt func(context.Context) error) error {
	var refused error
	err := retry.Do(ctx, c.retries, func(ctx context.Context) error {
		err := attempt(ctx)
		if errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrClientCredentials) {
			refused = err
			return nil
		}
		return err
	}, func(error, time.Duration) { c.metrics.repeated(name) })
	if refused != nil {
		return refused
	}
	return err
}

// askWhole repeats k until its answer, read whole, has been decoded.
func askWhole[T any](ctx context.Context, c *Client, k call, decode func([]byte) (T, error)) (T, error) {
	var decoded T
	err := c.repeat(ctx, k.name, func(ctx context.Context) error {
		return c.do(ctx, k, func(resp *http.Response) error {
			answer, err := appendBody(nil, resp, c.cfg.MaxBodyBytes)
			if err != nil {
				return err
			}
			decoded, err = decode(answer)
			return misunderstood(answer, k.holds, err)
		})
	})
	if err != nil {
		var none T
		return none, err
	}
	return decoded, nil
}

const headerRequestID = "X-Request-ID"

// request builds the request. Its secrets go out here and nowhere else.
func (c *Client) request(ctx context.Context, k call) (*http.Request, error) {
	target := c.cfg.BaseURL + k.path
	if len(k.query) > 0 {
		target += "?" + k.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, k.method, target, nil)
	if err != nil {
		return nil, errors.New("the base URL and the path make no URL")
	}
	if k.body != nil {
		encoded, err := json.Marshal(k.body)
		if err != nil {
			return nil, err
		}
		// GetBody stays nil: with it net/http may send a POST again when a reused
		// connection turns out dead, without it never. A code is sent once.
		req.Body = io.NopCloser(bytes.NewReader(encoded))
		req.ContentLength = int64(len(encoded))
		req.Header.Set("Content-Type", "application/json")
	}
	if k.auth == asUser {
		req.Header.Set("Authorization", "Bearer "+k.bearer.Reveal())
	} else {
		req.SetBasicAuth(c.cfg.ClientID, c.cfg.ClientSecret.Reveal())
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	req.Header.Set(headerRequestID, rand.Text())
	return req, nil
}

// timeoutError names the time-out that ended an attempt.
type timeoutError time.Duration

func (e timeoutError) Error() string { return "no complete answer within " + time.Duration(e).String() }
func (e timeoutError) Timeout() bool { return true }
func (e timeoutError) Unwrap() error { return context.DeadlineExceeded }

// sendTrace learns from net/http whether a request can have reached finX.
type sendTrace struct{ started, wrote atomic.Bool }

func (s *sendTrace) hooks() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn:      func(string) { s.started.Store(true) },
		WroteHeaders: func() { s.wrote.Store(true) },
	}
}

// maybe reports whether the request may have been acted on. The headers are
// counted as written before they leave the buffer, and net/http closes the
// connection and waits for its writer before it reports an error; so a request
// whose headers were not written cannot arrive later. A transport that calls no
// hooks at all is not trusted to have sent nothing.
func (s *sendTrace) maybe() bool { return s.wrote.Load() || !s.started.Load() }
