package finx

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/guard"
)

// refusal makes the error of an answer that is not 2xx.
func (c *Client) refusal(k call, sentID string, resp *http.Response) (guard.Answer, error) {
	body := decodeErrorBody(errorBodyBytes(resp))
	body.asksBasic = asksBasic(resp.Header)
	j := judge(k.auth, resp.StatusCode, body)
	clean := c.scrubber(k)
	id := clean.requestID(resp.Header.Get(headerRequestID))
	if id == "" {
		id = sentID
	}
	out := &fault.Error{
		Verdict: j.verdict, Ambiguous: j.ambiguous, Dependency: fault.FinX, Narrow: isNarrow(resp.StatusCode, body, j),
		Err: fmt.Errorf("finx: %s: %w", k.doing, &APIError{
			Op: k.doing, Status: resp.StatusCode, Code: body.code, OAuthError: body.oauth, Group: clean.exact(body.group),
			Description: clean.line(body.description), Fields: cleanAll(clean, body.fields), RequestID: id, sentinel: j.sentinel,
		}),
	}
	now := time.Now()
	asked, ok := retryAfter(resp.Header, now)
	about := standing(resp.StatusCode, body, j)
	if ok && about.Kind == guard.Throttled {
		about.Until = now.Add(asked)
	}
	switch {
	case j.verdict == fault.GiveUp:
		out.Class, out.Dependency = fault.Rejected, ""
	case ok && (j.sentinel == nil || j.verdict == fault.WaitUntil):
		// Any answer that may be repeated and names a time is taken at its word.
		out.Verdict, out.Until = fault.WaitUntil, now.Add(asked)
	case j.verdict == fault.WaitUntil && j.wait > 0:
		out.Until = now.Add(j.wait)
	case j.verdict == fault.WaitUntil:
		out.Until = now.Add(c.cfg.ThrottleDefault)
	}
	return about, out
}

// noAnswer makes the error of an attempt that got no answer at all.
func (c *Client) noAnswer(ctx, limited context.Context, k call, maybeSent bool, err error) (guard.Answer, error) {
	// url.Error repeats the whole URL; what is beneath it says what happened.
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	err = c.quiet(limited, k, err)
	return silence(ctx, err), broken(ctx, k, k.auth == asGrant && maybeSent, err)
}

// unusable makes the error of a 2xx answer that could not be read or understood.
// For a token call that is the worst case: finX has done it, and what it gave is
// lost.
func (c *Client) unusable(ctx, limited context.Context, k call, resp *http.Response, err error) (guard.Answer, error) {
	if errors.Is(err, errNoRoom) {
		// It was ours to wait: no fault of finX, and no attempt at this account.
		return guard.Answer{Kind: guard.Alive}, fault.Throttled("", time.Now().Add(noRoomWait), fmt.Errorf("finx: %s: %w", k.doing, err))
	}
	decoding, whole := errors.AsType[*decodeError](err)
	tooLarge := errors.Is(err, ErrBodyTooLarge)
	if tooLarge && k.auth != asGrant {
		return guard.Answer{Kind: guard.Alive}, fault.Permanent(fault.Oversize, fmt.Errorf("finx: %s: reading the answer: %w", k.doing, err))
	}
	err = c.quiet(limited, k, plainJSONError(err))
	var about guard.Answer
	switch {
	case tooLarge:
		about.Kind = guard.Alive
	case whole:
		about = misunderstanding(resp.StatusCode, decoding.foreign)
	default:
		about = silence(ctx, err)
	}
	err = fmt.Errorf("reading the answer (status %d): %w", resp.StatusCode, err)
	return about, broken(ctx, k, k.auth == asGrant, err)
}

// broken judges an attempt that ended without a usable answer. An attempt ended
// by the caller's context blames nobody.
func broken(ctx context.Context, k call, ambiguous bool, err error) error {
	out := &fault.Error{
		Verdict: fault.Retry, Ambiguous: ambiguous, Dependency: fault.FinX,
		Err: fmt.Errorf("finx: %s: %w", k.doing, err),
	}
	if ctx.Err() != nil {
		out.Dependency = ""
	}
	return out
}

// quiet returns err in words that are safe: the cause when the context has ended,
// else its text without secrets.
func (c *Client) quiet(limited context.Context, k call, err error) error {
	if limited.Err() != nil {
		return context.Cause(limited)
	}
	clean := c.scrubber(k)
	_, isOp := errors.AsType[*net.OpError](err)
	_, isDNS := errors.AsType[*net.DNSError](err)
	if isOp || isDNS {
		// These are in the system's words and name the host, whose look is a token's.
		return &quietError{text: clean.exact(err.Error()), err: err}
	}
	return &quietError{text: clean.line(err.Error()), err: err}
}

// scrubber knows what this call has sent.
func (c *Client) scrubber(k call) scrubber {
	// Of client id and secret together only what the header shows: the id alone is
	// no secret, and its beginning may be a common word.
	basic := base64.StdEncoding.EncodeToString([]byte(c.cfg.ClientID + ":" + c.cfg.ClientSecret.Reveal()))
	secrets := []string{c.cfg.ClientSecret.Reveal(), basic, k.bearer.Reveal()}
	for _, s := range k.inBody {
		secrets = append(secrets, s.Reveal())
	}
	return newScrubber(secrets...)
}

// asksBasic reports whether an answer asks for HTTP Basic. In doubt it does: a
// client that is blamed waits for the operator, a grant that is blamed is gone.
func asksBasic(h http.Header) bool {
	for _, value := range h.Values("WWW-Authenticate") {
		for challenge := range strings.SplitSeq(value, ",") {
			scheme, _, _ := strings.Cut(strings.TrimSpace(challenge), " ")
			if strings.EqualFold(scheme, "Basic") {
				return true
			}
		}
	}
	return false
}

func cleanAll(s scrubber, texts []string) []string {
	for i, t := range texts {
		texts[i] = s.exact(t)
	}
	return texts
}
