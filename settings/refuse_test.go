package settings_test

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/settings"
)

func TestBadValuesAreRefusedByName(t *testing.T) {
	for name, values := range map[string][]string{
		"NATS_URL":                    {"http://a:1", "nats://a:1,,nats://b:1", "nats://", "a b", "nats://u:#" + canary + "@h", "nats://u:12/" + canary + "@h", "nats://u:?" + canary + "@h"},
		"VAULT_ADDR":                  {"vault:8200", "ftp://v", "https://" + canary + ":x@vault", "https://"},
		"VAULT_SKIP_VERIFY":           {"maybe", "2"},
		"VAULT_AUTH":                  {"ldap", "Token"},
		"VAULT_AUTH_MOUNT":            {"/approle", "a//b"},
		"VAULT_KV_MOUNT":              {"secret/", "../sys", "a b", "a?b"},
		"VAULT_KV_PREFIX":             {"/finx"},
		"FINX_BASE_URL":               {"api.example", "http://api.example", "http://10.0.0.1", "https://u:" + canary + "@api.example", "https://api.example?x=1", "https://api.example#f", "http://localhost.evil.example"},
		"FINX_CLIENT_ID":              {"a:b"},
		"SUBJECT_PREFIX":              {"eu.", ".eu", "e u", "eu.*", "eu.>", "ü"},
		"SUBJECT_PER_CONNECTION":      {"on"},
		"REDIRECT_URI_ALLOW":          {"portal.example", "https://app.example/path", "https://a,,https://b", "myapp://x", "*"},
		"STREAM_REPLICAS":             {"0", "6", "three", "-1"},
		"STREAM_REQUESTS":             {"A.B", "A B", "*", ">"},
		"STREAM_MAX_AGE":              {"0s", "7d"},
		"STREAM_MAX_BYTES":            {"1", "-1"},
		"SYNC_INTERVAL":               {"6", "6 h", "6d", "0s", "-6h", "10000h"},
		"LISTEN_ADDR":                 {"8080", "localhost", ":http", ":65536"},
		"LOG_LEVEL":                   {"verbose", "INFO+1"},
		"LOG_FORMAT":                  {"xml"},
		"OTEL_EXPORTER_OTLP_ENDPOINT": {"collector:4317"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": {"/v1/traces"},
		"FINX_PATH_TOKEN":      {"auth/token", "/auth?x", "/a b"},
		"FINX_PATH_PROBE":      {"category-tree", "/rest?x", "/a b"},
		"FINX_TIMEOUT_TOKEN":   {"0", "2h"},
		"FINX_MAX_BODY_BYTES":  {"1", "64MB", "9999999999GiB", "0x10", "-64MiB"},
		"PAGE_SIZE":            {"0", "1e3", "1.5", "100001"},
		"CHUNK_BYTES":          {"512kb", "512 000", "65MiB", "15KiB"},
		"FETCH_SINCE_TYPE":     {"settled"},
		"SYNC_CONCURRENCY":     {"0", "5000"},
		"MAX_ATTEMPTS":         {"0", "forever"},
		"FINX_KEEPALIVE_LEAD":  {"0", "-1h", "30d"},
		"FINX_KEEPALIVE_RATE":  {"0", "-5", "NaN", "Inf", "5/s", "1001"},
		"FINX_RATE":            {"-1", "0.0009", "NaN", "Inf", "10/s", "10001", "-Inf"},
		"FINX_CONCURRENCY":     {"-1", "1.5", "4097", "many"},
		"BREAKER_FAILURES":     {"0", "-1", "1001"},
		"BREAKER_WAIT_MAX":     {"0", "999ms", "2h", "60"},
		"PARK_AFTER":           {"0s", "999ms", "25h", "1d"},
		"FINX_EXPIRING_NOTICE": {"0s", "7d"},
		"FINX_TOKEN_REPLAY":    {"once", "Always"},
		"LEASE_TTL":            {"1s", "11m"},
		"CLOCK_SKEW":           {"0s", "1h"},
		"SWEEP_RATE":           {"-1", "1.5", "100001"},
		"VAULT_TRANSIT_MOUNT":  {"/transit", "a b"},
		"VAULT_TRANSIT_KEY":    {"a/b", "..", "a b", "a?b"},
		"ESCROW_DIR":           {"spool-of-host", "./spool", "~/spool-of-host"},
		"ESCROW_KEY": {
			canary, escrowKey('a') + ",", "," + escrowKey('a'), escrowKey('a') + "," + canary, escrowKey('a')[:40], escrowKey('a') + "AAAA",
			escrowKey('a')[:20] + "\n" + escrowKey('a')[20:], escrowKey('a') + ";" + escrowKey('b'), strings.Repeat("ab", 32),
		},
	} {
		for _, value := range values {
			_, err := load(t, "", env(name, value))
			if err == nil {
				t.Errorf("%s=%q was taken", name, value)
				continue
			}
			prefix := "settings: " + name + " (environment): not allowed; allowed is: "
			if !strings.HasPrefix(err.Error(), prefix) || strings.Contains(err.Error(), "\n") || len(err.Error()) < len(prefix)+5 {
				t.Errorf("%s=%q: %v", name, value, err)
			}
			if len(value) > 7 && strings.Contains(err.Error(), value) {
				t.Errorf("%s: the value is in the error: %v", name, err)
			}
			leaksNothing(t, name, err.Error())
		}
	}
}

func TestGoodEdgesAreTaken(t *testing.T) {
	for name, values := range map[string][]string{
		"FINX_BASE_URL":   {"http://localhost:8090", "http://127.9.9.9", "http://[::1]:8090/", "https://api.example/v2/"},
		"LISTEN_ADDR":     {":0", "[::1]:8080", "0.0.0.0:80"},
		"CHUNK_BYTES":     {"16384", "16KiB", "64MiB", "512 KiB"},
		"SYNC_INTERVAL":   {"1s", "1h30m"},
		"STREAM_REQUESTS": {"team-a_REQ"},
		"NATS_URL":        {"nats://a:4222, nats://b:4222", "ws://a", "wss://token@a:443", "localhost:4222", "a, b:1"},
		"LOG_LEVEL":       {"error", "Debug"},

		"FINX_KEEPALIVE_RATE": {"0.001", "1000", "0.5"},
		"SWEEP_RATE":          {"0", "100000"},
		"FINX_RATE":           {"0", "-0", "0.0", "0.001", "1.5", "10000"},
		"FINX_CONCURRENCY":    {"0", "1", "4096"},
		"BREAKER_FAILURES":    {"1", "1000"},
		"BREAKER_WAIT_MAX":    {"1s", "1h"},
		"PARK_AFTER":          {"1s", "24h"},
		"CLOCK_SKEW":          {"1ms", "10m"},
		"LEASE_TTL":           {"2s", "10m"},
		"VAULT_TRANSIT_KEY":   {"finx_escrow.2-b"},
		"ESCROW_DIR":          {"/"},
		"ESCROW_KEY": {
			escrowKey(0xff), strings.NewReplacer("/", "_", "+", "-").Replace(escrowKey(0xff)), strings.TrimRight(escrowKey(0xff), "="),
			escrowKey('a') + " , " + escrowKey('b'),
		},
	} {
		for _, value := range values {
			if _, err := load(t, "", env(name, value)); err != nil {
				t.Errorf("%s=%q: %v", name, value, err)
			}
		}
	}
}

// http beyond loopback is for who asks for it by name, and then it is said at every start.
func TestHTTPBeyondLoopbackHasToBeAllowed(t *testing.T) {
	for _, base := range []string{"http://sandbox:8090", "http://10.0.0.1", "http://localhost.evil.example"} {
		_, err := load(t, "finx_base_url: "+base, env("FINX_BASE_URL", ""))
		if !strings.Contains(errText(err), "FINX_BASE_URL (") || !strings.Contains(errText(err), "finx.yaml line 1): not allowed") {
			t.Errorf("%s: %v", base, err)
		}
		s, err := load(t, "", env("FINX_BASE_URL", base, "FINX_ALLOW_HTTP", "true"))
		if err != nil || s.FinX.BaseURL != base {
			t.Errorf("%s: %q, %v", base, s.FinX.BaseURL, err)
		}
	}
	for _, base := range []string{"ftp://sandbox", "http://u:p@sandbox", "sandbox:8090"} {
		if _, err := load(t, "", env("FINX_BASE_URL", base, "FINX_ALLOW_HTTP", "true")); err == nil {
			t.Errorf("%s was taken", base)
		}
	}
}

// escrowKey is a key of 32 equal bytes.
func escrowKey(b byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32))
}

func TestBadFilesAreRefused(t *testing.T) {
	for name, tt := range map[string]bad{
		"unknown key":            {"sync_intervall: 6h", "sync_intervall (", "did you mean sync_interval?"},
		"upper case":             {"SYNC_INTERVAL: 6h", "SYNC_INTERVAL (", "did you mean sync_interval?"},
		"far from anything":      {"banana: 1", "banana (", "finx.yaml line 1): unknown key"},
		"nested":                 {"finx:\n  base_url: x", "finx (", "unknown key"},
		"mapping for a value":    {"finx_base_url:\n  x: y", "finx_base_url (", "must be one value, not a mapping, list or alias"},
		"twice":                  {"page_size: 1\npage_size: 2", "page_size (", "line 2): given twice; first at"},
		"bad value":              {"\npage_size: many", "PAGE_SIZE (", "finx.yaml line 2): not allowed; allowed is: a whole number, 1 to 100000"},
		"not a mapping":          {"- a\n- b", "reading", "it must be a mapping of keys to values"},
		"two documents":          {"page_size: 1\n---\npage_size: 2", "reading", "it must be one YAML document"},
		"not YAML":               {"page_size: [1", "reading", "not valid YAML near line"},
		"an alias of a secret":   {"vault_token: *" + canary, "reading", "not valid YAML; a value with special characters needs quotes"},
		"a tab before a secret":  {"vault_token:\n\t" + canary, "reading", "not valid YAML"},
		"a secret as key":        {canary + strings.Repeat("x", 60) + ": 1", "a key of 78 bytes (", "unknown key"},
		"an alias of a good one": {"log_format: &a json\nfetch_since_type: *a", "fetch_since_type (", "not a mapping, list or alias"},
	} {
		_, err := load(t, tt.yaml, env())
		if err == nil {
			t.Errorf("%s: taken", name)
			continue
		}
		if !strings.HasPrefix(err.Error(), "settings: "+tt.begin) || !strings.Contains(err.Error(), tt.end) {
			t.Errorf("%s: got %v, want settings: %s … %s", name, err, tt.begin, tt.end)
		}
		leaksNothing(t, name, err.Error())
	}
}

// bad is a file and the begin and the end of what is said about it.
type bad struct{ yaml, begin, end string }

func TestEmptyFilesSetNothing(t *testing.T) {
	for _, yaml := range []string{"\n", "# nothing\n", "---\n", "page_size:\nlog_level: ~\nredirect_uri_allow: []\n"} {
		s, err := load(t, yaml, env())
		if err != nil || s.Fetch.PageSize != 1000 || s.Subjects.RedirectURIAllow != nil {
			t.Errorf("%q: %v", yaml, err)
		}
	}
}

func TestEverythingWrongIsSaidAtOnce(t *testing.T) {
	_, err := load(t, "nope: 1", map[string]string{"PAGE_SIZE": "0", "FINX_BASE_URL": "x", "VAULT_AUTH": "approle", "VAULT_ROLE_ID": "r"})
	if err == nil {
		t.Fatal("taken")
	}
	lines := strings.Split(err.Error(), "\n")
	want := []string{"nope", "PAGE_SIZE", "FINX_BASE_URL", "FINX_CLIENT_ID: required", "FINX_CLIENT_SECRET: required", "VAULT_SECRET_ID: required with VAULT_AUTH=approle"}
	if len(lines) != len(want) {
		t.Errorf("got %q", lines)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("nothing about %s in %q", w, lines)
		}
	}
}

func TestOnlyWhatIsNeededIsRequired(t *testing.T) {
	none := func(string) string { return "" }
	for need, want := range map[settings.Need]string{
		{}:            "",
		{FinX: true}:  "settings: FINX_BASE_URL: required, but not set\nsettings: FINX_CLIENT_ID: required, but not set\nsettings: FINX_CLIENT_SECRET: required, but not set",
		{Vault: true}: "settings: VAULT_TOKEN: required with VAULT_AUTH=token, but not set",
	} {
		_, err := settings.Load("", none, nil, need)
		if got := errText(err); got != want {
			t.Errorf("%+v: %s", need, got)
		}
	}
	k8s := func(name string) string { return map[string]string{"VAULT_AUTH": "kubernetes"}[name] }
	if _, err := settings.Load("", k8s, nil, settings.Need{Vault: true}); errText(err) != "settings: VAULT_K8S_ROLE: required with VAULT_AUTH=kubernetes, but not set" {
		t.Error(err)
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestSettingsThatBelongTogether(t *testing.T) {
	for want, e := range map[string]map[string]string{
		"settings: NATS_CERT and NATS_KEY: set both or none":                          env("NATS_CERT", "c.pem"),
		"settings: VAULT_CLIENT_CERT and VAULT_CLIENT_KEY: set both or none":          env("VAULT_CLIENT_KEY", "k.pem"),
		"settings: NATS_CREDS and NATS_NKEY_SEED_FILE: set one of them":               env("NATS_CREDS", "c", "NATS_NKEY_SEED_FILE", "s"),
		"settings: CALLBACK_TIMEOUT: must not be shorter than FINX_TIMEOUT_TOKEN":     env("CALLBACK_TIMEOUT", "30s"),
		"settings: SYNC_TIMEOUT: must not be shorter than FINX_TIMEOUT_TOKEN":         env("SYNC_TIMEOUT", "44s"),
		"settings: FINX_KEEPALIVE_LEAD: must be shorter than FINX_REFRESH_LIFETIME":   env("FINX_REFRESH_LIFETIME", "720h"),
		"settings: FINX_EXPIRING_NOTICE: must be shorter than FINX_KEEPALIVE_LEAD":    env("FINX_KEEPALIVE_LEAD", "168h"),
		"settings: FINX_KEEPALIVE_LEAD (environment): not allowed; allowed is: a dur": env("FINX_KEEPALIVE_LEAD", "0s"),
		"settings: FINX_TIMEOUT_TOKEN (environment): not allowed; allowed is: a dura": env("FINX_TIMEOUT_TOKEN", "x", "SYNC_TIMEOUT", "1s"),
	} {
		if _, err := load(t, "", e); !strings.HasPrefix(errText(err), want) || strings.Contains(errText(err), "\n") {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestDoubtfulCombinationsAreWarnedAbout(t *testing.T) {
	for begin, e := range map[string]map[string]string{
		"FINX_TOKEN_REPLAY=never: ":                             env("FINX_TOKEN_REPLAY", "never"),
		"FINX_ALLOW_HTTP=true: the client secret, codes and to": env("FINX_ALLOW_HTTP", "true", "FINX_BASE_URL", "http://sandbox:8090"),
		"FINX_KEEPALIVE_LEAD is shorter than OUTAGE_AFTER: ":    env("FINX_KEEPALIVE_LEAD", "23h", "FINX_EXPIRING_NOTICE", "1h"),
		"LEASE_TTL is longer than ACK_WAIT: ":                   env("LEASE_TTL", "31s"),
		"VAULT_TRANSIT_MOUNT and VAULT_TRANSIT_KEY have no ef":  env("ESCROW_KEY", escrowKey('a'), "VAULT_TRANSIT_KEY", "finx-escrow"),
		"": env("ESCROW_KEY", escrowKey('a'), "LEASE_TTL", "30s", "FINX_KEEPALIVE_LEAD", "24h", "FINX_EXPIRING_NOTICE", "1h"),
	} {
		s, err := load(t, "", e)
		if err != nil {
			t.Fatal(err)
		}
		if begin == "" {
			if len(s.Warnings) != 0 {
				t.Errorf("got %q, want no warning", s.Warnings)
			}
			continue
		}
		if len(s.Warnings) != 1 || !strings.HasPrefix(s.Warnings[0], begin) {
			t.Errorf("got %q, want %s…", s.Warnings, begin)
		}
		leaksNothing(t, begin, strings.Join(s.Warnings, ""))
	}
}

// Keys in a file are separated as in the variable; the text editor's last line end
// is no part of them.
func TestEscrowKeysComeFromAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	keys := escrowKey('a') + "," + escrowKey('b')
	if err := os.WriteFile(path, []byte(keys+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := load(t, "", env("ESCROW_KEY_FILE", path))
	if err != nil || s.Vault.EscrowKeys.Reveal() != keys {
		t.Errorf("%d bytes of keys, %v", s.Vault.EscrowKeys.Len(), err)
	}
	i := slices.IndexFunc(s.Values(), func(v settings.Value) bool { return v.Env == "ESCROW_KEY" })
	if v := s.Values()[i]; v.Shown != "[redacted]" {
		t.Errorf("%+v", v)
	}
}

func TestMissingFile(t *testing.T) {
	_, err := settings.Load("/nowhere/finx.yaml", func(string) string { return "" }, nil, settings.Need{})
	if !strings.Contains(errText(err), "settings: opening the file: open /nowhere/finx.yaml: no such file") {
		t.Error(err)
	}
}

func TestMisspeltVariablesAreWarnedAbout(t *testing.T) {
	s, err := settings.Load("", func(string) string { return "" }, []string{
		"FINX_BASE_ULR=https://" + canary, "FINX_SOMETHING_ELSE=" + canary, "FINX_CLIENT_SECRET_FILE=x", "FINX_CODE_LIFETIME=1h", "HOME=/", "NATS_CONTEXT=x",
	}, settings.Need{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"FINX_BASE_ULR: unknown variable, ignored; did you mean FINX_BASE_URL?", "FINX_SOMETHING_ELSE: unknown variable, ignored"}
	if len(s.Warnings) != 2 || s.Warnings[0] != want[0] || s.Warnings[1] != want[1] {
		t.Errorf("got %q", s.Warnings)
	}
}
