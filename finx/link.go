package finx

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/finx-connector/finx-connector/internal/guard"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// Link is a link to the finX widget.
type Link struct {
	Location secret.Text // where the user is sent; it holds a token
	FlowID   string      // comes back as flow_id in the callback; may be empty
}

// createLink posts body to path until it has a link. A link that was made but not
// seen burns nothing, so the call is repeated.
func (c *Client) createLink(ctx context.Context, name, doing, path string, body any) (Link, error) {
	return askWhole(ctx, c, call{
		name: name, doing: doing, auth: asClient,
		method: http.MethodPost, path: path, body: body, timeout: c.cfg.Timeouts.Link,
		priority: guard.Link, holds: memberLocation,
	}, decodeLink)
}

// decodeLink reads {"location": …, "id": …}; flow_id is read where id is absent.
func decodeLink(b []byte) (Link, error) {
	var link Link
	var flowID string
	d := newDecoder(b)
	err := members(d, func(name string) error {
		v, err := d.ReadValue()
		if err != nil {
			return err
		}
		s, _ := text(v)
		switch name {
		case memberLocation:
			link.Location = secret.New(s)
		case "id":
			link.FlowID = s
		case "flow_id":
			flowID = s
		}
		return nil
	})
	if err != nil {
		return Link{}, err
	}
	if link.FlowID == "" {
		link.FlowID = flowID
	}
	return link, checkLocation(link.Location)
}

// checkLocation refuses what is no link. The host is not looked at: widget hosts
// vary and change.
func checkLocation(location secret.Text) error {
	if location.IsZero() {
		return fmt.Errorf("%w: no location", errShape)
	}
	u, err := url.Parse(location.Reveal())
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		// Not the parser's own error: it quotes the link.
		return errors.New("location is not an absolute http or https URL")
	}
	return nil
}
