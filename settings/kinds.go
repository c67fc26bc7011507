package settings

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/finx-connector/finx-connector/internal/secret"
)

// The kinds of settings. Each returns a Setting whose Allowed is also the text of
// its error.

func text(env, doc string, at func(*Settings) *string) Setting {
	return checked(env, "", doc, "text", func(string) bool { return true }, at)
}

func file(env, doc string, at func(*Settings) *string) Setting {
	s := text(env, doc, at)
	s.Allowed = "path of a file"
	return s
}

// checked is a text for which ok must hold.
func checked(env, def, doc, allowed string, ok func(string) bool, at func(*Settings) *string) Setting {
	return Setting{Env: env, Default: def, Doc: doc, Allowed: allowed, set: func(s *Settings, v string) error {
		if !ok(v) {
			return errors.New(allowed)
		}
		*at(s) = v
		return nil
	}}
}

func secretText(env, doc string, at func(*Settings) *secret.Text) Setting {
	return Setting{Env: env, Doc: doc, Allowed: "text", Secret: true, set: func(s *Settings, v string) error {
		*at(s) = secret.New(v)
		return nil
	}}
}

// reread keeps the path of the file that a secret came from.
func reread(s Setting, at func(*Settings) *string) Setting {
	s.path = at
	return s
}

func oneOf(env, def, doc string, at func(*Settings) *string, values ...string) Setting {
	return checked(env, def, doc, "one of "+strings.Join(values, ", "),
		func(v string) bool { return slices.Contains(values, v) }, at)
}

// boolean is a switch that is off unless it is set.
func boolean(env, doc string, at func(*Settings) *bool) Setting {
	return Setting{Env: env, Default: "false", Doc: doc, Allowed: "true or false", set: func(s *Settings, v string) error {
		switch strings.ToLower(v) {
		case "true", "1", "yes":
			*at(s) = true
		case "false", "0", "no":
			*at(s) = false
		default:
			return errors.New("true or false")
		}
		return nil
	}}
}

func duration(env, def, doc string, low, high time.Duration, at func(*Settings) *time.Duration) Setting {
	allowed := fmt.Sprintf("%s to %s", short(low), short(high))
	return Setting{Env: env, Default: def, Doc: doc, Allowed: allowed, set: func(s *Settings, v string) error {
		d, err := time.ParseDuration(v)
		if err != nil || d < low || d > high {
			return fmt.Errorf("a duration written like 90s, 10m or 6h, %s", allowed)
		}
		*at(s) = d
		return nil
	}}
}

// short writes 6h0m0s as 6h.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func size(env, def, doc string, low, high int64, at func(*Settings) *int64) Setting {
	allowed := fmt.Sprintf("%s to %s", shortBytes(low), shortBytes(high))
	return Setting{Env: env, Default: def, Doc: doc, Allowed: allowed, set: func(s *Settings, v string) error {
		n, ok := parseBytes(v)
		if !ok || n < low || n > high {
			return fmt.Errorf("a size in bytes or written like 512KiB, 64MiB or 2GiB, %s", allowed)
		}
		*at(s) = n
		return nil
	}}
}

// units are the binary units, the largest first.
func units() []struct {
	name  string
	bytes int64
} {
	return []struct {
		name  string
		bytes int64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}
}

func parseBytes(v string) (int64, bool) {
	factor := int64(1)
	for _, u := range units() {
		if rest, ok := strings.CutSuffix(v, u.name); ok {
			v, factor = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/factor {
		return 0, false
	}
	return n * factor, true
}

func shortBytes(n int64) string {
	for _, u := range units() {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// absoluteURL reports whether v is a URL of one of the schemes, with a host and
// without a user, query or fragment.
func absoluteURL(v string, schemes ...string) (*url.URL, bool) {
	u, err := url.Parse(v)
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, false
	}
	return u, slices.Contains(schemes, u.Scheme)
}

// isLoopback reports whether host never leaves this machine.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
