package promcheck_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

const metricsList = "../../deploy/prometheus/metrics.json"

// target are the labels that Prometheus adds to whatever it scrapes.
var target = []string{"job", "instance"}

// metric is a family that the connector has, or that a recording rule makes.
type metric struct {
	Name, Type string
	// Labels has the values of each label, nil where they are not known before.
	Labels map[string][]string
}

// catalogue is what may be asked for, by name.
type catalogue map[string]metric

// readCatalogue reads what a connector says, and adds what any process and any
// target has.
func readCatalogue(t *testing.T) catalogue {
	t.Helper()
	raw, err := os.ReadFile(metricsList)
	if err != nil {
		t.Fatal(err)
	}
	var all []metric
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	c := catalogue{
		"up":                            {Type: "gauge"},
		"process_start_time_seconds":    {Type: "gauge"},
		"process_resident_memory_bytes": {Type: "gauge"},
		"process_cpu_seconds_total":     {Type: "counter"},
		"go_goroutines":                 {Type: "gauge"},
	}
	for _, m := range all {
		if m.Type != "histogram" {
			c[m.Name] = m
			continue
		}
		c[m.Name+"_bucket"] = metric{Type: "counter", Labels: m.Labels}
		rest := map[string][]string{}
		for name, values := range m.Labels {
			if name != "le" {
				rest[name] = values
			}
		}
		c[m.Name+"_sum"], c[m.Name+"_count"] = metric{Type: "counter", Labels: rest}, metric{Type: "counter", Labels: rest}
	}
	return c
}

// check says what is wrong with the metrics and labels of an expression.
func (c catalogue) check(t *testing.T, where, expr string) {
	t.Helper()
	parsed, err := language.ParseExpr(expr)
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	grouped := slices.Clone(target)
	parser.Inspect(parsed, func(node parser.Node, path []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			m, known := c[selector.Name]
			if !known {
				t.Errorf("%s: there is no metric %s", where, selector.Name)
				return nil
			}
			for name := range m.Labels {
				grouped = append(grouped, name)
			}
			checkMatchers(t, where, selector, m)
			checkCounter(t, where, selector.Name, m, path)
		}
		return nil
	})
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		for _, name := range groupingOf(node) {
			if !slices.Contains(grouped, name) {
				t.Errorf("%s: no metric in it has the label %s", where, name)
			}
		}
		return nil
	})
}

func groupingOf(node parser.Node) []string {
	switch n := node.(type) {
	case *parser.AggregateExpr:
		return n.Grouping
	case *parser.BinaryExpr:
		if n.VectorMatching != nil {
			return append(slices.Clone(n.VectorMatching.MatchingLabels), n.VectorMatching.Include...)
		}
	}
	return nil
}

// checkMatchers looks whether each label is one of the metric, and whether the value
// or each alternative of a pattern is one that it has.
func checkMatchers(t *testing.T, where string, selector *parser.VectorSelector, m metric) {
	t.Helper()
	for _, match := range selector.LabelMatchers {
		if match.Name == model.MetricNameLabel || slices.Contains(target, match.Name) {
			continue
		}
		values, known := m.Labels[match.Name]
		if !known {
			t.Errorf("%s: %s has no label %s", where, selector.Name, match.Name)
			continue
		}
		alternatives := []string{match.Value}
		if match.Type == labels.MatchRegexp || match.Type == labels.MatchNotRegexp {
			alternatives = strings.Split(match.Value, "|")
		}
		for _, one := range alternatives {
			if values == nil {
				continue
			}
			pattern := regexp.MustCompile("^(?:" + one + ")$")
			if !slices.ContainsFunc(values, pattern.MatchString) {
				t.Errorf("%s: %s has no %s %q, only %v", where, selector.Name, match.Name, one, values)
			}
		}
	}
}

// checkCounter wants a counter to be asked for how fast it rises: its value says how
// long the process has run.
func checkCounter(t *testing.T, where, name string, m metric, path []parser.Node) {
	t.Helper()
	if m.Type != "counter" {
		return
	}
	for _, node := range path {
		if call, ok := node.(*parser.Call); ok && slices.Contains([]string{"rate", "increase", "irate", "resets"}, call.Func.Name) {
			return
		}
	}
	t.Errorf("%s: %s is a counter: take its rate or increase", where, name)
}
