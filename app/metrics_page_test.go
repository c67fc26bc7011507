package app_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/finx-connector/finx-connector/app"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/internal/vaulttest"
)

var update = flag.Bool("update", false, "write docs/metrics.md and deploy/prometheus/metrics.json")

const (
	metricsPage = "../docs/metrics.md"
	metricsList = "../deploy/prometheus/metrics.json"
	pageBegin   = "<!-- metrics, drawn by go test ./app -run Metrics -update -->\n"
)

// metric is a family of the page /metrics.
type metric struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Help string `json:"help"`
	// Labels has the values of each label, null where they are not known before.
	Labels map[string][]string `json:"labels,omitempty"`
}

// scrape starts a connector with everything it can be made of and returns its page
// before it has done anything.
func scrape(t *testing.T) string {
	t.Helper()
	broker, vault := natstest.Start(t), vaulttest.Start(t)
	mount := vault.Mount(t)
	s := load(t, map[string]string{
		"NATS_URL": broker.URL(), "LISTEN_ADDR": "127.0.0.1:0", "FINX_BASE_URL": "http://127.0.0.1:1", "FINX_CLIENT_ID": "id", "FINX_CLIENT_SECRET": "geheim",
		"VAULT_ADDR": vault.Addr, "VAULT_KV_MOUNT": mount,
		"VAULT_TOKEN": vault.NewToken(t, map[string]any{"policies": []string{vault.Policy(t, vaulttest.KV2Rules(t, mount, "finx"))}, "ttl": "1h"}),
	})
	js := natstest.JetStream(t, broker.URL())
	topology := app.Topology(s)
	changes, err := topology.Diff(t.Context(), js)
	if err == nil {
		err = topology.Apply(t.Context(), js, changes)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- app.Run(ctx, app.Options{Settings: s, Version: "test", Logger: slog.New(slog.DiscardHandler), OnReady: func(addr string) { ready <- addr }})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the connector ended with: %v", err)
		}
	})
	addr := <-ready
	client := &http.Client{Timeout: 10 * time.Second}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d, error %v", resp.StatusCode, err)
	}
	return string(page)
}

var (
	sampleLine = regexp.MustCompile(`^(finx_connector_[a-z_]+)(?:\{(.*)\})? \S+$`)
	labelPair  = regexp.MustCompile(`([a-z_]+)="((?:[^"\\]|\\.)*)"`)
)

// families reads those of ours from a page in Prometheus' text format.
func families(t *testing.T, page string) []metric {
	t.Helper()
	found := map[string]*metric{}
	for line := range strings.Lines(page) {
		line = strings.TrimSuffix(line, "\n")
		if head, ok := strings.CutPrefix(line, "# HELP "); ok {
			name, help, _ := strings.Cut(head, " ")
			if strings.HasPrefix(name, "finx_connector_") {
				found[name] = &metric{Name: name, Help: help, Labels: map[string][]string{}}
			}
			continue
		}
		if head, ok := strings.CutPrefix(line, "# TYPE "); ok {
			if name, typ, _ := strings.Cut(head, " "); found[name] != nil {
				found[name].Type = typ
			}
			continue
		}
		sample := sampleLine.FindStringSubmatch(line)
		if sample == nil {
			continue
		}
		m := found[sample[1]]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if m == nil {
				m = found[strings.TrimSuffix(sample[1], suffix)]
			}
		}
		if m == nil {
			t.Fatalf("a sample without a head: %s", line)
		}
		for _, pair := range labelPair.FindAllStringSubmatch(sample[2], -1) {
			if !slices.Contains(m.Labels[pair[1]], pair[2]) {
				m.Labels[pair[1]] = append(m.Labels[pair[1]], pair[2])
			}
		}
	}
	var all []metric
	for _, name := range slices.Sorted(maps.Keys(found)) {
		m := *found[name]
		for label, values := range m.Labels {
			if label != "le" {
				slices.Sort(values)
			}
		}
		if m.Name == "finx_connector_build_info" {
			m.Labels["version"] = nil
		}
		all = append(all, m)
	}
	return all
}

// TestMetricsArePublishedAsDocumented holds docs/metrics.md, and the list that alerts
// and dashboards are checked against, to what a connector says that has just
// started: what is not there from the start is in neither.
func TestMetricsArePublishedAsDocumented(t *testing.T) {
	page := scrape(t)
	all := families(t, page)
	if len(all) < 60 {
		t.Fatalf("%d metrics: not the whole connector", len(all))
	}
	list, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	hold(t, metricsList, append(list, '\n'))
	old, err := os.ReadFile(filepath.FromSlash(metricsPage))
	if err != nil {
		t.Fatal(err)
	}
	intro, _, begun := strings.Cut(string(old), pageBegin)
	if !begun {
		t.Fatalf("%s lacks the line %q", metricsPage, pageBegin)
	}
	hold(t, metricsPage, []byte(intro+pageBegin+table(all)))
	problems, err := promlint.New(strings.NewReader(page)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// hold compares a file with what it should be, or writes it.
func hold(t *testing.T, file string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(filepath.FromSlash(file), want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile(filepath.FromSlash(file)); err != nil || string(got) != string(want) {
		t.Errorf("%s is not what a connector says (error %v); run: go test ./app -run Metrics -update", file, err)
	}
}

// shownValues is how many values of a label are named in the table.
const shownValues = 24

// rooms sorts the metrics by the part of the program they are of, which their name
// says; what is the only one of its kind is of the process.
func rooms(all []metric) (names []string, of map[string][]metric) {
	first := func(m metric) string {
		room, _, _ := strings.Cut(strings.TrimPrefix(m.Name, "finx_connector_"), "_")
		return room
	}
	count := map[string]int{}
	for _, m := range all {
		count[first(m)]++
	}
	of = map[string][]metric{}
	for _, m := range all {
		room := first(m)
		if count[room] == 1 {
			room = "process"
		}
		of[room] = append(of[room], m)
	}
	return slices.Sorted(maps.Keys(of)), of
}

func table(all []metric) string {
	var b strings.Builder
	names, of := rooms(all)
	for _, room := range names {
		fmt.Fprintf(&b, "\n## %s\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n", room)
		for _, m := range of[room] {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Name, m.Type, labelsOf(m), strings.ReplaceAll(m.Help, "|", `\|`))
		}
	}
	return b.String()
}

func labelsOf(m metric) string {
	var labels []string
	for _, name := range slices.Sorted(maps.Keys(m.Labels)) {
		values := m.Labels[name]
		switch {
		case name == "le":
		case len(values) == 0 || len(values) > shownValues:
			labels = append(labels, "`"+name+"`")
		default:
			labels = append(labels, "`"+name+"`: "+strings.Join(values, ", "))
		}
	}
	return strings.Join(labels, "; ")
}
