package doctor

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/settings"
)

// CheckRedirects looks at the rules for redirect_uri, and tries uri against them when
// it is given.
func CheckRedirects(s settings.Settings, uri string) Check {
	return Check{GroupRedirects, func(_ context.Context, sheet *Sheet) {
		list := s.Subjects.RedirectURIAllow
		policy, err := events.ParseRedirectPolicy(strings.Join(list, ","))
		if err != nil {
			sheet.fail(GroupRedirects, "REDIRECT_URI_ALLOW", err.Error(), "set REDIRECT_URI_ALLOW to origins like https://app.example.com, joined by commas")
			return
		}
		if len(list) == 0 {
			sheet.warn(GroupRedirects, "REDIRECT_URI_ALLOW", "empty: whoever may publish requests may send users and their codes to any https URL, and to http on loopback",
				"set REDIRECT_URI_ALLOW to the origins of your applications, like https://app.example.com")
		} else {
			judgeOrigins(sheet, list)
		}
		if uri == "" {
			return
		}
		if err := policy.Check(uri); err != nil {
			sheet.fail(GroupRedirects, "--redirect-uri", "refused: "+err.Error(), "correct the URI, or add its origin to REDIRECT_URI_ALLOW")
			return
		}
		sheet.ok(GroupRedirects, "--redirect-uri", "allowed")
	}}
}

func judgeOrigins(sheet *Sheet, list []string) {
	var open []string
	for _, origin := range list {
		if u, err := url.Parse(origin); err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()) {
			open = append(open, origin)
		}
	}
	sheet.judge(false, len(open) > 0, Finding{
		Group: GroupRedirects, Check: "REDIRECT_URI_ALLOW",
		Seen:   fmt.Sprintf("%d origins%s", len(list), suffix(open, ", without encryption and not on this machine: ")),
		Remedy: "use https for them: the code in a callback is a bearer of the user's bank access",
	})
}

// suffix joins what there is behind a lead, "" for nothing.
func suffix(items []string, lead string) string {
	if len(items) == 0 {
		return ""
	}
	return lead + strings.Join(items, ", ")
}
