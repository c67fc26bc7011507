package finx

import (
	"net/http"
	"strconv"

	"github.com/finx-connector/finx-connector/internal/telemetry"
)

// spanOf stands before the name of a call in the name of its span.
const spanOf = "finx."

// describe says of a call where it goes. The path is shown as it is configured: what
// stands in its place, and the query, are about one account.
func (c *Client) describe(span telemetry.Span, k call, req *http.Request) {
	if !span.Recorded() {
		return
	}
	path := k.path
	if k.name == callTransactions {
		path = c.cfg.Paths.Transactions
	}
	span.Text(telemetry.KeyMethod, k.method)
	span.Text(telemetry.KeyURLTemplate, path)
	span.Text(telemetry.KeyServer, req.URL.Hostname())
	if port, err := strconv.Atoi(req.URL.Port()); err == nil {
		span.Int(telemetry.KeyPort, port)
	}
	span.Text(telemetry.KeyRequestID, req.Header.Get(headerRequestID))
}
