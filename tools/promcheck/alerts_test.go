package promcheck_test

import (
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"go.yaml.in/yaml/v3"
)

const casesFile = "testdata/alerts.yaml"

// alertCase is what one alert is tried with: series scraped every minute from time 0
// on, written as promtool writes them.
type alertCase struct {
	Alert string `yaml:"alert"`
	// Fires are series with which it fires At that time and not a minute before.
	Fires []string      `yaml:"fires"`
	At    time.Duration `yaml:"at"`
	// Quiet are series, much like them, with which it never does.
	Quiet []string `yaml:"quiet"`
}

func readCases(t *testing.T) []alertCase {
	t.Helper()
	raw, err := os.ReadFile(casesFile)
	if err != nil {
		t.Fatal(err)
	}
	var all []alertCase
	if err := yaml.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// quietFor is how much longer than an alert takes to fire it must stay silent.
const quietFor = time.Hour

// TestEveryAlertFiresAndIsSilent plays each alert twice.
func TestEveryAlertFiresAndIsSilent(t *testing.T) {
	groups, engine := readRules(t), newEngine()
	tried := map[string]bool{}
	for _, c := range readCases(t) {
		tried[c.Alert] = true
		t.Run(c.Alert, func(t *testing.T) {
			rule := find(t, groups, c.Alert)
			at, firing := play(newStore(t, c.Fires), engine, groups, rule, c.At+quietFor)
			if firing == nil || at != c.At {
				t.Errorf("fires at %s (%v), want %s", at, firing, c.At)
			}
			for _, one := range firing {
				checkTexts(t, rule, one.Metric)
			}
			if at, firing := play(newStore(t, c.Quiet), engine, groups, rule, c.At+quietFor); firing != nil {
				t.Errorf("fires at %s with what should not make it fire: %v", at, firing)
			}
		})
	}
	for _, r := range alerts(t) {
		if !tried[r.Alert] {
			t.Errorf("%s is tried by no case of %s", r.Alert, casesFile)
		}
	}
}

func find(t *testing.T, groups *rulefmt.RuleGroups, alert string) rulefmt.Rule {
	t.Helper()
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			if r.Alert == alert {
				return r
			}
		}
	}
	t.Fatalf("there is no alert %s", alert)
	return rulefmt.Rule{}
}

// play evaluates the recording rules and one alert every minute, and returns when
// the alert fired for the first time and for what: once its expression has had a
// series for as long as the rule wants.
func play(s *store, engine *promql.Engine, groups *rulefmt.RuleGroups, rule rulefmt.Rule, until time.Duration) (time.Duration, promql.Vector) {
	s.t.Helper()
	since := map[string]time.Duration{}
	for now := time.Duration(0); now <= until; now += step {
		for _, g := range groups.Groups {
			for _, r := range g.Rules {
				if r.Record != "" {
					s.record(engine, r, now)
				}
			}
		}
		var firing promql.Vector
		active := map[string]time.Duration{}
		for _, one := range s.ask(engine, rule.Expr, now) {
			key := one.Metric.String()
			active[key] = now
			if begun, was := since[key]; was {
				active[key] = begun
			}
			if now-active[key] >= time.Duration(rule.For) {
				firing = append(firing, one)
			}
		}
		if firing != nil {
			return now, firing
		}
		since = active
	}
	return 0, nil
}

func (s *store) record(engine *promql.Engine, r rulefmt.Rule, now time.Duration) {
	s.t.Helper()
	for _, one := range s.ask(engine, r.Expr, now) {
		made := labels.NewBuilder(one.Metric).Set(model.MetricNameLabel, r.Record).Labels()
		s.add(made, now.Milliseconds(), one.F)
	}
}

var labelInText = regexp.MustCompile(`\$labels\.([a-z_]+)`)

// checkTexts looks whether the labels that an alert's texts show are there when it
// fires.
func checkTexts(t *testing.T, rule rulefmt.Rule, fired labels.Labels) {
	t.Helper()
	for _, text := range rule.Annotations {
		for _, used := range labelInText.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(names(fired), used[1]) {
				t.Errorf("%q shows a label that is not there: %s", text, fired)
			}
		}
	}
}

func names(ls labels.Labels) []string {
	var all []string
	ls.Range(func(l labels.Label) { all = append(all, l.Name) })
	return all
}
