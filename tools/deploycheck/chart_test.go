package deploycheck

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
)

const (
	release   = "bank"
	namespace = "finance"
)

func chartDir() string { return inRoot("deploy", "helm", "finx-connector") }

// valuesFiles returns the values of every way to install the chart that is
// tested, by name.
func valuesFiles(t *testing.T) map[string]map[string]any {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(chartDir(), "ci", "*-values.yaml"))
	if err != nil || len(paths) < 7 {
		t.Fatalf("%d files of values: %v", len(paths), err)
	}
	all := map[string]map[string]any{}
	for _, path := range paths {
		all[strings.TrimSuffix(filepath.Base(path), "-values.yaml")] = loadValues(t, string(read(t, path)))
	}
	return all
}

func loadValues(t *testing.T, yaml string) map[string]any {
	t.Helper()
	values, err := loader.LoadValues(strings.NewReader(yaml))
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// render returns the files that the chart makes of values. The schema is checked.
func render(ctx context.Context, values map[string]any) (map[string]string, error) {
	c, err := loader.Load(chartDir())
	if err != nil {
		return nil, err
	}
	all, err := util.ToRenderValues(c, values, common.ReleaseOptions{Name: release, Namespace: namespace, Revision: 1, IsInstall: true}, nil)
	if err != nil {
		return nil, err
	}
	e := engine.Engine{}
	files, err := e.RenderWithContext(ctx, c, all)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(files, func(name, text string) bool { return strings.TrimSpace(text) == "" })
	return files, nil
}

func TestChartPassesLint(t *testing.T) {
	for name, values := range valuesFiles(t) {
		t.Run(name, func(t *testing.T) {
			for _, m := range lint.RunAll(chartDir(), values, namespace).Messages {
				// A chart for one program has no need of an icon in a catalogue.
				if !strings.Contains(m.Error(), "icon is recommended") {
					t.Error(m.Error())
				}
			}
		})
	}
}

// Kubernetes takes names that YAML takes for numbers and switches.
func TestNamesAreText(t *testing.T) {
	objects(t, loadValues(t, `
finx: {baseURL: 'https://finx.example', clientID: acme, existingSecret: '123'}
nats: {existingSecret: '1e5', tls: {caSecret: '0', clientSecret: 'true'}}
vault: {auth: approle, caSecret: '7', approle: {existingSecret: 'on'}}
escrow: {existingSecret: '8', dir: {persistent: true, storageClassName: '9'}}
streams: {existingSecret: '10', tlsClientSecret: '11'}
serviceAccount: {name: 'true'}
priorityClassName: '12'
fullnameOverride: '13'
autoscaling: {kind: hpa}
`))
}

func TestNotesSayWhatIsOff(t *testing.T) {
	notes := func(name string) string {
		files, err := render(t.Context(), valuesFiles(t)[name])
		if err != nil {
			t.Fatal(err)
		}
		return files["finx-connector/templates/NOTES.txt"]
	}
	if text := notes("production"); strings.Contains(text, " is off") || strings.Contains(text, " is empty") || !strings.Contains(text, "health --ready") {
		t.Errorf("production: %s", text)
	}
	if text := notes("off"); strings.Count(text, " is off") != 3 || strings.Count(text, " is empty") != 1 {
		t.Errorf("off: %s", text)
	}
}

func TestSchemaRefuses(t *testing.T) {
	const least = "finx: {baseURL: 'https://finx.example', clientID: acme, existingSecret: finx-client"
	for name, tc := range map[string]struct{ yaml, complaint string }{
		"nothing given":          {"{}", "finx"},
		"no secret":              {"finx: {baseURL: 'https://finx.example', clientID: acme}", "existingSecret"},
		"no https":               {"finx: {baseURL: finx.example, clientID: acme, existingSecret: s}", "baseURL"},
		"mistyped at the top":    {least + "}\nreplicacount: 2", "replicacount"},
		"mistyped below":         {least + "}\nnats: {urll: x}", "urll"},
		"mistyped setting":       {least + "}\nsettings: {SYNC_INTERVALL: 6h}", "SYNC_INTERVALL"},
		"a setting as a number":  {least + "}\nsettings: {PAGE_SIZE: 1000000}", "PAGE_SIZE"},
		"a setting with a value": {least + "}\nsettings: {LISTEN_ADDR: ':1'}", "LISTEN_ADDR"},
		"a secret as a setting":  {least + "}\nsettings: {FINX_CLIENT_SECRET: s}", "FINX_CLIENT_SECRET"},
		"a secret as a value":    {least + ", clientSecret: s}", "clientSecret"},
		"a password in a URL":    {least + "}\nnats: {url: 'nats://u:p@nats:4222'}", "url"},
		"a port that needs root": {least + "}\nport: 80", "port"},
		"another login":          {least + "}\nvault: {auth: token}", "auth"},
		"approle without secret": {least + "}\nvault: {auth: approle}", "existingSecret"},
		"keda without broker":    {least + "}\nautoscaling: {kind: keda}", "monitoringEndpoint"},
		"scaled to nothing":      {least + "}\nautoscaling: {kind: keda, minReplicas: 0, keda: {monitoringEndpoint: 'n:8222', account: A}}", "minReplicas"},
		"more than the most":     {least + "}\nautoscaling: {kind: hpa, minReplicas: 5, maxReplicas: 2}", "minReplicas"},
		"scaled by nothing":      {least + "}\nautoscaling: {kind: hpa}\nresources: null", "resources.requests.cpu"},
		"volumes of nothing":     {least + "}\nescrow: {dir: {enabled: false, persistent: true}}", "enabled"},
		"too short a grace":      {least + "}\nextraGraceSeconds: 5", "extraGraceSeconds"},
	} {
		if _, err := render(t.Context(), loadValues(t, tc.yaml)); err == nil || !strings.Contains(err.Error(), tc.complaint) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := render(t.Context(), loadValues(t, least+"}")); err != nil {
		t.Error(err)
	}
}

// Each value stands in the README's table with its default, and nothing else does.
func TestReadmeListsEveryValue(t *testing.T) {
	var want []string
	for path := range leaves("", loadValues(t, string(read(t, filepath.Join(chartDir(), "values.yaml"))))) {
		want = append(want, path)
	}
	var got []string
	for line := range strings.Lines(string(read(t, filepath.Join(chartDir(), "README.md")))) {
		if name, rest, ok := strings.Cut(strings.TrimPrefix(line, "| `"), "` |"); ok && strings.HasPrefix(line, "| `") && strings.Count(rest, "|") == 2 {
			got = append(got, name)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the README lists\n%q\nand the values are\n%q", got, want)
	}
}

// leaves returns the paths of what is no map with members.
func leaves(prefix string, values map[string]any) map[string]any {
	all := map[string]any{}
	for key, v := range values {
		if below, ok := v.(map[string]any); ok && len(below) > 0 && !whole(prefix+key) {
			maps.Copy(all, leaves(prefix+key+".", below))
			continue
		}
		all[prefix+key] = v
	}
	return all
}

// whole says which values are handed to Kubernetes as they are.
func whole(path string) bool { return slices.Contains([]string{"resources"}, path) }

// The chart cannot reach files beside it, so it carries the alerts as a copy.
func TestChartCarriesTheAlerts(t *testing.T) {
	source := inRoot("deploy", "prometheus", "alerts.yaml")
	if _, err := os.Stat(source); err != nil {
		t.Fatal(err)
	}
	sameAs(t, filepath.Join(chartDir(), "files", "alerts.yaml"), read(t, source))
}
