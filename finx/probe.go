package finx

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/guard"
)

// Probe asks finX whether it works, once: a GET of Paths.Probe as the client, by
// default of the tree of categories, the documented call that is about no user and
// spends nothing. It passes no Gate and takes Timeouts.Accounts at most.
//
// It returns nil when finX answers, whatever it says of the request. An error has
// the verdict Retry, or WaitUntil when finX asks everybody to stay away; its time
// is zero then unless finX named one.
func (c *Client) Probe(ctx context.Context) error {
	about, err := c.attempt(ctx, call{
		name: callProbe, doing: "probing", auth: asClient,
		method: http.MethodGet, path: c.cfg.Paths.Probe, timeout: c.cfg.Timeouts.Accounts,
	}, func(*http.Response) error { return nil }) // the status says it all
	if refused, ok := errors.AsType[*APIError](err); ok && isReached(refused) {
		return nil
	}
	var until time.Time
	switch about.Kind {
	case guard.Alive:
		return nil
	case guard.Unknown:
		return err
	case guard.Away:
		return fault.Transient(fault.FinX, &quietError{text: "finx: probing: " + about.Why, err: err})
	case guard.Throttled:
		until = about.Until
	}
	return fault.Throttled(fault.FinX, until, &quietError{text: "finx: probing: " + about.Why, err: err})
}

// isReached reports whether a refusal, if not in finX's words, may be finX's all
// the same: where the path does not exist, or is not for this client, an
// installation may say so in any form. Taken for somebody else's it would keep finX
// shut for ever; taken for finX's it costs one call that finds out.
func isReached(e *APIError) bool {
	switch e.Status {
	case http.StatusProxyAuthRequired, http.StatusMisdirectedRequest, http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false // not reached, or judged by what it says
	case http.StatusUnauthorized:
		return false
	}
	return e.Status >= 400 && e.Status < 500 && e.Code != codeInvalidClient &&
		e.OAuthError != oauthInvalidClient && e.OAuthError != oauthUnauthorizedClient
}
