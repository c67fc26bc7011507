package promcheck_test

import (
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
)

const rulesFile = "../../deploy/prometheus/alerts.yaml"

// readRules parses and lints the rules as promtool does.
func readRules(t *testing.T) *rulefmt.RuleGroups {
	t.Helper()
	groups, errs := rulefmt.ParseFile(rulesFile, false, model.UTF8Validation, language, slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if groups == nil || t.Failed() {
		t.FailNow()
	}
	return groups
}

// alerts returns all alerting rules.
func alerts(t *testing.T) []rulefmt.Rule {
	t.Helper()
	var all []rulefmt.Rule
	for _, g := range readRules(t).Groups {
		for _, r := range g.Rules {
			if r.Alert != "" {
				all = append(all, r)
			}
		}
	}
	return all
}

// withRecords adds what the recording rules make to what may be asked for. Their
// labels are those that they group by.
func withRecords(t *testing.T, c catalogue) catalogue {
	t.Helper()
	c = maps.Clone(c)
	for _, g := range readRules(t).Groups {
		for _, r := range g.Rules {
			if r.Record == "" {
				continue
			}
			c.check(t, r.Record, r.Expr)
			made := metric{Type: "gauge", Labels: map[string][]string{}}
			parsed, err := language.ParseExpr(r.Expr)
			if err != nil {
				t.Fatal(err)
			}
			for _, label := range groupingOf(parsed) {
				for _, from := range c {
					if values, ok := from.Labels[label]; ok && strings.HasPrefix(r.Record, strings.Replace(from.Name, "finx_connector_", "finx_connector:", 1)+":") {
						made.Labels[label] = values
					}
				}
			}
			c[r.Record] = made
		}
	}
	return c
}

func TestRulesAskForWhatThereIs(t *testing.T) {
	c := withRecords(t, readCatalogue(t))
	for _, r := range alerts(t) {
		c.check(t, r.Alert, r.Expr)
	}
}

var (
	alertName = regexp.MustCompile(`^FinxConnector[A-Z][A-Za-z]+$`)
	sentence  = regexp.MustCompile(`^[A-Za-z{].*[^ .]$`)
)

func TestAlertsSayWhatTheyMean(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range alerts(t) {
		if !alertName.MatchString(r.Alert) || seen[r.Alert] {
			t.Errorf("the name %s is not ours, or taken", r.Alert)
		}
		seen[r.Alert] = true
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		if got := slices.Sorted(maps.Keys(r.Annotations)); !slices.Equal(got, []string{"description", "runbook_url", "summary"}) {
			t.Errorf("%s: annotations %v", r.Alert, got)
		}
		if s := r.Annotations["summary"]; !sentence.MatchString(s) || len(s) > 120 {
			t.Errorf("%s: summary %q: a short line without a full stop is wanted", r.Alert, s)
		}
		if d := r.Annotations["description"]; len(d) < 60 || !strings.HasSuffix(d, ".") {
			t.Errorf("%s: description %q", r.Alert, d)
		}
		if !strings.HasSuffix(r.Annotations["runbook_url"], "/docs/runbooks/"+r.Alert+".md") {
			t.Errorf("%s: runbook_url %q", r.Alert, r.Annotations["runbook_url"])
		}
	}
	if len(seen) == 0 {
		t.Error("no alerts")
	}
}
