package events

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// RedirectPolicy decides which redirect_uri may be used (REDIRECT_URI_ALLOW).
// The zero value allows any https URL, and http on this machine.
type RedirectPolicy struct{ origins []origin }

// origin is a scheme, host and port in normal form; equal origins are equal
// values, so nothing is ever compared by prefix or suffix.
type origin struct{ scheme, host, port string }

// ParseRedirectPolicy reads a comma list of origins such as
// "https://a.example, https://b.example:8443". An entry is a scheme (https or
// http), a host and maybe a port; anything more is refused, because a path in
// the list would look as if it were checked.
func ParseRedirectPolicy(list string) (RedirectPolicy, error) {
	var p RedirectPolicy
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		u, fe := parseRedirectURI(entry)
		if fe != nil {
			return RedirectPolicy{}, problem("REDIRECT_URI_ALLOW", "entry %q %s", entry, fe.Problem)
		}
		if (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.ForceQuery || strings.Contains(u.Host, "*") {
			return RedirectPolicy{}, problem("REDIRECT_URI_ALLOW", "entry %q must be an origin like https://app.example", entry)
		}
		p.origins = append(p.origins, originOf(u))
	}
	return p, nil
}

// Check returns nil when uri may be used, else a *FieldError naming
// redirect_uri: malformed when it is none, rejected when it is not allowed.
func (p RedirectPolicy) Check(uri string) error {
	u, fe := parseRedirectURI(uri)
	if fe != nil {
		return refuse(fault.Malformed, TypeConnectRequested, fe)
	}
	o := originOf(u)
	if len(p.origins) == 0 {
		if o.scheme == "https" || isLoopback(o.host) {
			return nil
		}
		return refuse(fault.Rejected, TypeConnectRequested, problem("redirect_uri", "must be https, or http on loopback"))
	}
	if slices.Contains(p.origins, o) {
		return nil
	}
	return refuse(fault.Rejected, TypeConnectRequested, problem("redirect_uri", "origin is not in REDIRECT_URI_ALLOW"))
}

// Origins returns the allowed origins in normal form, none for the zero policy.
func (p RedirectPolicy) Origins() []string {
	var list []string
	for _, o := range p.origins {
		host := o.host
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		list = append(list, o.scheme+"://"+host+":"+o.port)
	}
	return list
}

// parseRedirectURI reads an absolute http(s) URL without user info and without
// fragment. Blanks and backslashes are refused before parsing: browsers and
// servers disagree about them, and such disagreements are open redirects.
func parseRedirectURI(s string) (*url.URL, *FieldError) {
	const field = "redirect_uri"
	for i := range len(s) {
		if s[i] <= 0x20 || s[i] == 0x7f || s[i] == '\\' {
			return nil, problem(field, "contains a blank, control character or backslash")
		}
	}
	if strings.Contains(s, "#") {
		return nil, problem(field, "must not have a fragment")
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, problem(field, "is not a URL")
	}
	if (u.Scheme != "https" && u.Scheme != "http") || u.Opaque != "" || u.Hostname() == "" {
		return nil, problem(field, "must be an absolute https URL")
	}
	if u.User != nil {
		return nil, problem(field, "must not have user info")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return nil, problem(field, "has an invalid port")
		}
	}
	return u, nil
}

func originOf(u *url.URL) origin {
	o := origin{scheme: u.Scheme, host: strings.ToLower(u.Hostname()), port: u.Port()}
	if addr, err := netip.ParseAddr(o.host); err == nil {
		o.host = addr.String() // one spelling of an IPv6 address
	}
	switch {
	case o.port != "":
		n, _ := strconv.Atoi(o.port) // cannot fail: parseRedirectURI checked it
		o.port = strconv.Itoa(n)
	case o.scheme == "https":
		o.port = "443"
	default:
		o.port = "80"
	}
	return o
}

// isLoopback reports whether a normalised host can only be this machine.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Zone() == "" && addr.IsLoopback()
}
