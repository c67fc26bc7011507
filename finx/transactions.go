package finx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/guard"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// TransactionQuery chooses one page of an account's transactions. finX gives
// neither a total nor a cursor: a page shorter than Count is the last one.
type TransactionQuery struct {
	AccountID string // required
	Count     int    // page size; 0 is Config.PageSize
	Offset    int
	// Since and Until are dates, YYYY-MM-DD, inclusive; empty is not sent. Since
	// may be a transaction id instead.
	Since, Until   string
	SinceType      string // booked, created or modified; empty is finX's default, booked
	Sort           string // asc or desc; empty is finX's default, desc
	IncludePending bool   // pending ones come as a whole set, whatever Since says
}

// Page is one page of transactions.
type Page struct {
	// Items are the transaction objects byte for byte as received. They alias the
	// PageBuffer and are valid until it is used again.
	Items [][]byte
}

// Transactions reads one page into buf and cuts it. The page is accepted whole or
// not at all: every item has been validated before the first is handed out. It is
// repeated within Config.RetryBudget; errors.Is with ErrUnauthorized: the access
// token has to be refreshed first; with ErrBodyTooLarge: ask for fewer at once.
func (c *Client) Transactions(ctx context.Context, access secret.Text, q TransactionQuery, buf *PageBuffer) (Page, error) {
	path, query, err := c.transactionsTarget(q)
	if err != nil {
		return Page{}, fault.Permanent(fault.Malformed, fmt.Errorf("finx: fetching transactions: %w", err))
	}
	var page Page
	k := call{
		name: callTransactions, doing: "fetching transactions", auth: asUser,
		method: http.MethodGet, path: path, query: query, bearer: access, timeout: c.cfg.Timeouts.Transactions,
		priority: guard.Page,
	}
	err = c.repeat(ctx, k.name, func(ctx context.Context) error {
		return c.do(ctx, k, func(resp *http.Response) (err error) { //nolint:contextcheck // the answer carries that of its request, which has the time-out
			page, err = buf.read(resp, c.cfg.MaxBodyBytes)
			return err
		})
	})
	if err != nil {
		return Page{}, err
	}
	return page, nil
}

// transactionsTarget returns the escaped path and the query of q.
func (c *Client) transactionsTarget(q TransactionQuery) (string, url.Values, error) {
	// Dots are not escaped in a path and would climb in it.
	if strings.Trim(q.AccountID, ".") == "" {
		return "", nil, errors.New("no usable account id")
	}
	v := url.Values{
		"count":  {strconv.Itoa(cmp.Or(q.Count, c.cfg.PageSize))},
		"offset": {strconv.Itoa(q.Offset)},
	}
	for name, value := range map[string]string{"since": q.Since, "until": q.Until, "since_type": q.SinceType, "sort": q.Sort} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.IncludePending {
		v.Set("include_pending", "true")
	}
	path := c.cfg.Paths.Transactions
	if !strings.Contains(path, accountIDMark) {
		v.Set("accounts", q.AccountID)
	}
	return strings.ReplaceAll(path, accountIDMark, url.PathEscape(q.AccountID)), v, nil
}
