package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/settings"
)

// CheckFinX looks at finX by one question that is about no user and spends nothing.
// ask fails only where the settings make no client.
func CheckFinX(s settings.Settings, ask func(ctx context.Context) (finx.Diagnosis, error)) Check {
	return Check{GroupFinX, func(ctx context.Context, sheet *Sheet) {
		if s.FinX.BaseURL == "" {
			sheet.skip(GroupFinX, "all", "FINX_BASE_URL is not set")
			return
		}
		d, err := ask(ctx)
		if err != nil {
			sheet.fail(GroupFinX, "settings", err.Error(), "correct the setting that is named")
			return
		}
		if !reachFinX(sheet, s, d) {
			sheet.skip(GroupFinX, "credentials", "no answer")
			return
		}
		sheet.clock(Reading{Of: "finX", Foreign: true, Coarse: true, Server: d.Date, Ours: d.Heard})
		judgeFinX(sheet, s, d)
		judgeCredentials(sheet, s, d)
	}}
}

func reachFinX(sheet *Sheet, s settings.Settings, d finx.Diagnosis) bool {
	way := ""
	if d.Proxy != "" {
		way = " through the proxy " + d.Proxy
	}
	if d.Err != nil {
		remedy := map[string]string{
			"name":       "correct the host in FINX_BASE_URL (now " + s.FinX.BaseURL + "), or mend the name service of this machine",
			"connection": "open the way from here to it: firewall, egress rules, HTTPS_PROXY; or correct FINX_BASE_URL (now " + s.FinX.BaseURL + ")",
			"TLS":        "finX's certificate must be one that this system trusts: look for a proxy that breaks TLS open, and install its authority, or go around it",
			"answer":     "it takes connections and does not answer: wait, or ask Qwist",
		}[d.Stage]
		sheet.fail(GroupFinX, "server", fmt.Sprintf("%s%s does not answer (at its %s): %s", d.Host, way, d.Stage, rootCause(d.Err)), remedy)
		return false
	}
	found := ""
	if len(d.Found) > 0 {
		found = " (" + strings.Join(d.Found, ", ") + ")"
	}
	sheet.ok(GroupFinX, "network", fmt.Sprintf("%s%s%s answers within %s", d.Host, found, way, d.Latency.Round(100*time.Microsecond)))
	if d.TLS != "" {
		sheet.ok(GroupFinX, "TLS", d.TLS)
		checkCertificate(sheet, GroupFinX, d.CertEnd)
	}
	return true
}

func judgeFinX(sheet *Sheet, s settings.Settings, d finx.Diagnosis) {
	const name = "server"
	asked := fmt.Sprintf("GET %s answers with status %d", s.FinX.Paths.Probe, d.Status)
	switch {
	case d.Standing != "" && d.Throttled:
		sheet.warn(GroupFinX, name, asked+": "+d.Standing, "wait: serve keeps to the time it names; FINX_RATE sets how many calls a second it may make")
	case d.Standing != "" && d.Credentials != finx.Refused:
		sheet.fail(GroupFinX, name, asked+": "+d.Standing, "correct FINX_BASE_URL (now "+s.FinX.BaseURL+"), look what is in front of finX, or ask Qwist whether it is away")
	case !d.IsFinX:
		sheet.warn(GroupFinX, name, asked+" in words that are not finX's: a gateway, or an installation that has no such path; it does not tell",
			"compare FINX_BASE_URL (now "+s.FinX.BaseURL+") with what Qwist gave you; set FINX_PATH_PROBE to a path that this installation answers to a client")
	default:
		sheet.ok(GroupFinX, name, asked)
	}
}

func judgeCredentials(sheet *Sheet, s settings.Settings, d finx.Diagnosis) {
	const name = "credentials"
	switch d.Credentials {
	case finx.Accepted:
		sheet.ok(GroupFinX, name, "accepted for "+s.FinX.Paths.Probe)
	case finx.Refused:
		sheet.fail(GroupFinX, name, rootCause(d.Says), "set FINX_CLIENT_ID and FINX_CLIENT_SECRET (or FINX_CLIENT_SECRET_FILE) to what Qwist gave you for this host")
	case finx.Untold:
		sheet.skip(GroupFinX, name, fmt.Sprintf("status %d does not tell whether they are accepted, and every other call would spend something", d.Status))
	}
}
