package deploycheck

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"sigs.k8s.io/yaml"
)

func composeDir() string { return inRoot("deploy", "compose") }

// generated are the files that secrets.sh makes.
func generated() []string {
	return []string{"nats.env", "connector.nk", "provisioner.nk", "operator.nk", "finx-client-secret", "grafana-admin-password"}
}

// compose loads the file as docker compose does, against a copy of deploy/ in which
// the generated files are there.
func compose(t *testing.T) *types.Project {
	t.Helper()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(inRoot("deploy"))); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(copied, "compose")
	if err := os.MkdirAll(filepath.Join(dir, "secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range generated() {
		if err := os.WriteFile(filepath.Join(dir, "secrets", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "compose.yaml")
	p, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir: dir, ConfigFiles: []types.ConfigFile{{Filename: file}}, Environment: types.Mapping{},
	}, loader.WithProfiles([]string{"*"}))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ours says which services run a program of this repository.
func ours(s types.ServiceConfig) bool { return s.Build != nil }

// once says which services end by themselves.
func once(s types.ServiceConfig) bool {
	return slices.Contains([]string{"streams", "vault-setup", "operator"}, s.Name)
}

func TestServicesHaveNoRights(t *testing.T) {
	for name, s := range compose(t).Services {
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.CapAdd) > 0 || s.Privileged || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s: read only %v, drops %v, adds %v, %v", name, s.ReadOnly, s.CapDrop, s.CapAdd, s.SecurityOpt)
		}
		if s.NetworkMode != "" || s.Pid != "" || s.Ipc != "" {
			t.Errorf("%s shares with the host: %s %s %s", name, s.NetworkMode, s.Pid, s.Ipc)
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is open to the network", name, port.Published)
			}
		}
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeBind && !v.ReadOnly {
				t.Errorf("%s may write to %s", name, v.Source)
			}
		}
	}
}

func TestComposeReferencesAreThere(t *testing.T) {
	p := compose(t)
	for name, s := range p.Services {
		for _, v := range s.Volumes {
			if v.Type != types.VolumeTypeBind {
				continue
			}
			if _, err := os.Stat(v.Source); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if ours(s) {
			if _, err := os.Stat(filepath.Join(root, s.Build.Dockerfile)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			stage(t, s.Build.Target)
		}
		// A tag that moves is another image tomorrow.
		if tag := s.Image[strings.LastIndex(s.Image, ":")+1:]; tag == "" || tag == "latest" || !strings.Contains(s.Image, ":") {
			t.Errorf("%s: image %s", name, s.Image)
		}
	}
	for name, secret := range p.Secrets {
		base := filepath.Base(secret.File)
		if filepath.Base(filepath.Dir(secret.File)) != "secrets" || !slices.Contains(generated(), base) {
			t.Errorf("secret %s is in %s", name, secret.File)
		}
	}
}

// What secrets.sh makes is never committed, and it makes what compose.yaml reads.
func TestSecretsAreMadeAndIgnored(t *testing.T) {
	if ignored := string(read(t, filepath.Join(composeDir(), ".gitignore"))); ignored != "/secrets/\n" {
		t.Errorf("git ignores %q", ignored)
	}
	p := compose(t)
	secretive := regexp.MustCompile(`(?i)secret|token|passw|creds|seed`)
	for name, s := range p.Services {
		for variable, value := range s.Environment {
			if secretive.MatchString(variable) && !strings.HasSuffix(variable, "_FILE") {
				t.Errorf("%s: %s=%v", name, variable, *value)
			}
			if file, ok := strings.CutPrefix(*value, "/run/secrets/"); ok && !slices.ContainsFunc(s.Secrets, func(c types.ServiceSecretConfig) bool { return c.Source == file }) {
				t.Errorf("%s: %s=%s is not mounted", name, variable, *value)
			}
		}
	}
}

// A second run changes nothing: brokers and containers hold the first ones.
func TestSecretsScriptMakesThemOnce(t *testing.T) {
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(inRoot("deploy"))); err != nil {
		t.Fatal(err)
	}
	nk := filepath.Join(copied, "nk")
	const standIn = "#!/bin/sh\nif [ \"$1\" = -gen ]; then echo SUKEY$$; else read -r seed; echo \"U$seed\"; fi\n"
	if err := os.WriteFile(nk, []byte(standIn), 0o700); err != nil {
		t.Fatal(err)
	}
	run := func() map[string]string {
		cmd := exec.CommandContext(t.Context(), "sh", filepath.Join(copied, "compose", "secrets.sh"))
		cmd.Env = append(os.Environ(), "NK="+nk)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		made := map[string]string{}
		for _, name := range generated() {
			made[name] = string(read(t, filepath.Join(copied, "compose", "secrets", name)))
			if len(made[name]) < 5 {
				t.Errorf("%s holds %q", name, made[name])
			}
		}
		return made
	}
	first := run()
	if second := run(); !maps.Equal(first, second) {
		t.Errorf("%v and then %v", first, second)
	}
	dir, err := os.Stat(filepath.Join(copied, "compose", "secrets"))
	if err != nil || dir.Mode().Perm() != 0o700 {
		t.Errorf("everybody may enter: %v, %v", dir.Mode(), err)
	}
	if lines := strings.Count(first["nats.env"], "NATS_NKEY_"); lines != 6 || len(first["finx-client-secret"]) != 64 {
		t.Errorf("%q", first)
	}
}

func TestEverybodyIsWatchedAndWaitedFor(t *testing.T) {
	p := compose(t)
	want := map[string][]string{
		"streams":     {"nats-1 service_healthy", "nats-2 service_healthy", "nats-3 service_healthy"},
		"vault-setup": {"vault service_healthy"},
		"connector-1": {"finx-sandbox service_started", "streams service_completed_successfully", "vault-setup service_completed_successfully"},
		"connector-2": {"finx-sandbox service_started", "streams service_completed_successfully", "vault-setup service_completed_successfully"},
	}
	for name, s := range p.Services {
		var waits []string
		for on, d := range s.DependsOn {
			waits = append(waits, on+" "+d.Condition)
			if d.Condition == types.ServiceConditionHealthy && (p.Services[on].HealthCheck == nil || p.Services[on].HealthCheck.Disable) {
				t.Errorf("%s waits for %s, which nobody watches", name, on)
			}
		}
		slices.Sort(waits)
		if w, ok := want[name]; ok && !slices.Equal(waits, w) {
			t.Errorf("%s waits for %q", name, waits)
		}
		watched := s.HealthCheck != nil && !s.HealthCheck.Disable
		inImage := ours(s) && s.Build.Target == "finx-connector" && s.HealthCheck == nil
		// The sandbox has no command that could ask it, and nothing that matters.
		if !watched && !inImage && !once(s) && name != "finx-sandbox" {
			t.Errorf("nobody watches %s", name)
		}
		if once(s) && (s.HealthCheck == nil || !s.HealthCheck.Disable) {
			t.Errorf("%s ends, and is asked for its health", name)
		}
	}
}

func TestConnectorsOfComposeReadTheirSettings(t *testing.T) {
	known, secrets := settingNames(t)
	for _, s := range secrets {
		known = append(known, s+"_FILE")
	}
	p := compose(t)
	for name, s := range p.Services {
		if !ours(s) || s.Build.Target != "finx-connector" {
			continue
		}
		for variable := range s.Environment {
			if !slices.Contains(known, variable) {
				t.Errorf("%s: %s is no setting", name, variable)
			}
		}
	}
	for _, name := range []string{"connector-1", "connector-2"} {
		s := p.Services[name]
		drain := 45 * time.Second // the default
		if s.StopGracePeriod == nil || time.Duration(*s.StopGracePeriod) < drain+30*time.Second {
			t.Errorf("%s: grace %v", name, s.StopGracePeriod)
		}
		if !strings.HasPrefix(*s.Environment["ESCROW_DIR"], "/var/lib/finx-connector") || !slices.ContainsFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool {
			return v.Target == "/var/lib/finx-connector" && v.Source == "escrow-"+strings.TrimPrefix(name, "connector-")
		}) {
			t.Errorf("%s keeps sealed answers at %s: %v", name, *s.Environment["ESCROW_DIR"], s.Volumes)
		}
	}
	// Who may change streams is not who serves.
	if id := func(s string) string { return *p.Services[s].Environment["NATS_NKEY_SEED_FILE"] }; id("streams") == id("connector-1") || id("operator") == id("connector-1") {
		t.Error("two roles share an identity")
	}
}

func TestPrometheusOfComposeAsksBothConnectors(t *testing.T) {
	var config struct {
		RuleFiles     []string `json:"rule_files"`
		ScrapeConfigs []struct {
			JobName       string `json:"job_name"`
			StaticConfigs []struct {
				Targets []string `json:"targets"`
			} `json:"static_configs"`
		} `json:"scrape_configs"`
	}
	if err := yaml.Unmarshal(read(t, filepath.Join(composeDir(), "prometheus.yaml")), &config); err != nil {
		t.Fatal(err)
	}
	p := compose(t)
	for _, rules := range config.RuleFiles {
		if !slices.ContainsFunc(p.Services["prometheus"].Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == rules }) {
			t.Errorf("%s is not mounted", rules)
		}
	}
	var got []string
	for _, s := range config.ScrapeConfigs {
		for _, c := range s.StaticConfigs {
			got = append(got, c.Targets...)
		}
		// The alerts find the connectors by this name.
		if !strings.Contains(s.JobName, "finx-connector") {
			t.Errorf("job %s", s.JobName)
		}
	}
	if !slices.Equal(got, []string{"connector-1:8080", "connector-2:8080"}) {
		t.Errorf("targets %q", got)
	}
}
