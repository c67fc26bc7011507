package promcheck_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/tools/promcheck"
)

const dashboards = "../../deploy/grafana"

var update = flag.Bool("update", false, "write the dashboards to deploy/grafana")

// TestDashboardsAreDrawn compares what is shipped with what is drawn.
func TestDashboardsAreDrawn(t *testing.T) {
	drawn := promcheck.Dashboards()
	for name, d := range drawn {
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", " ")
		if err := enc.Encode(d); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dashboards, name)
		if *update {
			if err := os.WriteFile(file, want.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%s is not what is drawn (error %v); run in tools/promcheck: go test -run Dashboards -update", file, err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dashboards, "*.json"))
	if err != nil || len(files) != len(drawn) {
		t.Errorf("%d files, %d dashboards, error %v", len(files), len(drawn), err)
	}
}

// chosen puts something in the place of Grafana's variables.
var chosen = strings.NewReplacer("$__rate_interval", "5m", "$job", "finx-connector", "$instance", ".*")

// units are those of Grafana that a panel may have.
var units = []string{"short", "none", "s", "bytes", "Bps", "ops", "percentunit"}

func TestDashboardsAskForWhatThereIs(t *testing.T) {
	c := withRecords(t, readCatalogue(t))
	uids := map[string]bool{}
	for name, d := range promcheck.Dashboards() {
		if uids[d.UID] || len(d.UID) > 40 {
			t.Errorf("%s: the uid %q is taken, or longer than Grafana takes", name, d.UID)
		}
		uids[d.UID] = true
		for _, p := range d.Panels {
			where := name + ", " + p.Title
			if p.Type == "row" {
				continue
			}
			if p.Description == "" || !strings.HasSuffix(p.Description, ".") || p.Title == "" {
				t.Errorf("%s: description %q", where, p.Description)
			}
			if !slices.Contains(units, p.FieldConfig.Defaults.Unit) {
				t.Errorf("%s: unit %q", where, p.FieldConfig.Defaults.Unit)
			}
			if p.Datasource == nil || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
				t.Errorf("%s: asks nobody, or nothing", where)
			}
			for _, target := range p.Targets {
				expr := chosen.Replace(target.Expr)
				if strings.Contains(expr, "$") || !strings.Contains(target.Expr, `job="$job"`) {
					t.Errorf("%s: %s: a variable that there is not, or no installation", where, target.Expr)
				}
				if len(p.Targets) > 1 && target.LegendFormat == "" {
					t.Errorf("%s: two answers without a name", where)
				}
				c.check(t, where, expr)
			}
		}
	}
}

// TestPanelsHaveAPlace looks whether ids are unique and nothing lies upon another.
func TestPanelsHaveAPlace(t *testing.T) {
	for name, d := range promcheck.Dashboards() {
		ids, taken := map[int]string{}, map[[2]int]string{}
		for _, p := range d.Panels {
			if ids[p.ID] != "" {
				t.Errorf("%s: %q and %q have the id %d", name, ids[p.ID], p.Title, p.ID)
			}
			ids[p.ID] = p.Title
			g := p.GridPos
			if g.X < 0 || g.Y < 0 || g.W < 1 || g.H < 1 || g.X+g.W > 24 {
				t.Errorf("%s: %q is beyond the edge: %+v", name, p.Title, g)
			}
			for x := g.X; x < g.X+g.W; x++ {
				for y := g.Y; y < g.Y+g.H; y++ {
					if other := taken[[2]int{x, y}]; other != "" {
						t.Errorf("%s: %q lies upon %q", name, p.Title, other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
			seen := map[string]bool{}
			for _, target := range p.Targets {
				if seen[target.RefID] {
					t.Errorf("%s: %q asks twice under %s", name, p.Title, target.RefID)
				}
				seen[target.RefID] = true
			}
		}
	}
}
