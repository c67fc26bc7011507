package finx

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/finx-connector/finx-connector/internal/secret"
)

// Defaults of a Config's zero fields.
const (
	DefaultPageSize        = 1000     // finX's own default of count
	DefaultMaxBodyBytes    = 16 << 20 // some thirty times a usual page of 1000
	DefaultMaxIdlePerHost  = 64
	DefaultRetryBudget     = 10 * time.Second
	DefaultThrottleDefault = time.Minute
	DefaultUserAgent       = "finx-connector"
)

// accountIDMark is the part of Paths.Transactions that the account id replaces.
const accountIDMark = "{account_id}"

// Config is what a Client is made from. Zero fields without the word required
// have a default.
type Config struct {
	BaseURL      string      // required: scheme, host and maybe a path prefix
	AllowHTTP    bool        // BaseURL may be http beyond loopback: secrets then travel in clear
	ClientID     string      // required; HTTP Basic user, so without a colon
	ClientSecret secret.Text // required; HTTP Basic password

	Paths    Paths
	Timeouts Timeouts

	PageSize     int   // count of a TransactionQuery that names none
	MaxBodyBytes int64 // limit of one decompressed success body, else ErrBodyTooLarge
	// MaxIdlePerHost is how many connections are kept for reuse. Fewer than
	// there are callers costs a TCP and TLS handshake a call.
	MaxIdlePerHost int
	// RetryBudget is the time within which a further attempt of a repeatable call
	// may begin; negative means one attempt. Token calls are never repeated.
	RetryBudget     time.Duration
	ThrottleDefault time.Duration // wait when finX throttles and names no time
	UserAgent       string
	// Proxy chooses the proxy of a request, as http.Transport.Proxy does; nil
	// connects directly. The environment is not read behind the caller's back.
	Proxy func(*http.Request) (*url.URL, error)
	// Transport replaces the pooled transport, and with it MaxIdlePerHost, Proxy
	// and the time-outs of the connection. It must not repeat requests.
	Transport http.RoundTripper
	// Gate holds attempts back until it is their turn; nil lets all of them go. The
	// time-out of an attempt begins with its turn.
	Gate    Gate
	Metrics *Metrics // nil measures nothing
}

// Paths are the resources below BaseURL. The documentation disagrees with itself
// on trailing slashes, so each is sent exactly as it is written here.
type Paths struct {
	Access   string
	Sync     string
	Token    string
	Revoke   string
	Accounts string
	// Transactions holds {account_id}. Without it the id is sent as the query
	// parameter accounts, which is how /rest/transactions wants it.
	Transactions string
	// Probe is asked whether finX works: a GET as the client, about nobody.
	Probe string
}

// Timeouts bound one attempt of each call, from dialling to the last byte of the
// answer. The token call has the longest: an answer that comes after we stopped
// listening is a lost refresh token.
type Timeouts struct {
	Dial         time.Duration // of one TCP connect
	TLSHandshake time.Duration
	Link         time.Duration // creating a widget link
	Token        time.Duration
	Revoke       time.Duration
	Accounts     time.Duration // and of a probe
	Transactions time.Duration // one page
}

// withDefaults returns c with its zero fields filled.
func (c Config) withDefaults() Config {
	c.BaseURL = strings.TrimRight(c.BaseURL, "/")
	c.PageSize = cmp.Or(c.PageSize, DefaultPageSize)
	c.MaxBodyBytes = cmp.Or(c.MaxBodyBytes, DefaultMaxBodyBytes)
	c.MaxIdlePerHost = cmp.Or(c.MaxIdlePerHost, DefaultMaxIdlePerHost)
	c.RetryBudget = cmp.Or(c.RetryBudget, DefaultRetryBudget)
	c.ThrottleDefault = cmp.Or(c.ThrottleDefault, DefaultThrottleDefault)
	c.UserAgent = cmp.Or(c.UserAgent, DefaultUserAgent)
	c.Paths = c.Paths.withDefaults()
	c.Timeouts = c.Timeouts.withDefaults()
	return c
}

func (p Paths) withDefaults() Paths {
	return Paths{
		Access:       cmp.Or(p.Access, "/ongoing/access"),
		Sync:         cmp.Or(p.Sync, "/ongoing/sync"),
		Token:        cmp.Or(p.Token, "/auth/token"),
		Revoke:       cmp.Or(p.Revoke, "/auth/revoke"),
		Accounts:     cmp.Or(p.Accounts, "/rest/accounts"),
		Transactions: cmp.Or(p.Transactions, "/rest/accounts/"+accountIDMark+"/transactions"),
		Probe:        cmp.Or(p.Probe, "/category-tree"),
	}
}

func (t Timeouts) withDefaults() Timeouts {
	return Timeouts{
		Dial:         cmp.Or(t.Dial, 5*time.Second),
		TLSHandshake: cmp.Or(t.TLSHandshake, 5*time.Second),
		Link:         cmp.Or(t.Link, 15*time.Second),
		Token:        cmp.Or(t.Token, time.Minute),
		Revoke:       cmp.Or(t.Revoke, 15*time.Second),
		Accounts:     cmp.Or(t.Accounts, 30*time.Second),
		Transactions: cmp.Or(t.Transactions, time.Minute),
	}
}

// validate names the first setting that cannot work. It runs after withDefaults.
func (c Config) validate() error {
	if err := validBase(c.BaseURL, c.AllowHTTP); err != nil {
		return err
	}
	if c.ClientID == "" || strings.Contains(c.ClientID, ":") {
		return errors.New("ClientID: must be set and without a colon, which HTTP Basic does not allow")
	}
	if c.ClientSecret.IsZero() {
		return errors.New("ClientSecret: must be set")
	}
	for name, path := range map[string]string{
		"Paths.Access": c.Paths.Access, "Paths.Sync": c.Paths.Sync, "Paths.Token": c.Paths.Token,
		"Paths.Revoke": c.Paths.Revoke, "Paths.Accounts": c.Paths.Accounts, "Paths.Transactions": c.Paths.Transactions,
		"Paths.Probe": c.Paths.Probe,
	} {
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#") {
			return fmt.Errorf("%s: must begin with a slash and hold no query", name)
		}
	}
	for name, n := range map[string]int64{
		"PageSize": int64(c.PageSize), "MaxBodyBytes": c.MaxBodyBytes, "MaxIdlePerHost": int64(c.MaxIdlePerHost),
		"ThrottleDefault": int64(c.ThrottleDefault), "Timeouts.Dial": int64(c.Timeouts.Dial),
		"Timeouts.TLSHandshake": int64(c.Timeouts.TLSHandshake), "Timeouts.Link": int64(c.Timeouts.Link),
		"Timeouts.Token": int64(c.Timeouts.Token), "Timeouts.Revoke": int64(c.Timeouts.Revoke),
		"Timeouts.Accounts": int64(c.Timeouts.Accounts), "Timeouts.Transactions": int64(c.Timeouts.Transactions),
	} {
		if n < 0 {
			return fmt.Errorf("%s: must not be negative", name)
		}
	}
	return nil
}

// validBase does not repeat the value: a URL with a password in it is just what
// it is there to refuse.
func validBase(base string, allowHTTP bool) error {
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
		return errors.New("BaseURL: must be an absolute http or https URL")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("BaseURL: must hold no user, query or fragment")
	}
	if u.Scheme == "http" && !allowHTTP && !isLoopback(u.Hostname()) {
		return errors.New("BaseURL: must be https, or http on loopback, unless AllowHTTP is set")
	}
	return nil
}

// isLoopback reports whether host never leaves this machine.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}
