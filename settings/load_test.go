package settings_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/settings"
)

const canary = "CANARY-s3cr3t-51f0"

// env is an environment that serve could run in.
func env(more ...string) map[string]string {
	m := map[string]string{
		"FINX_BASE_URL": "https://api.example", "FINX_CLIENT_ID": "id", "FINX_CLIENT_SECRET": canary, "VAULT_TOKEN": canary + "-v",
	}
	for i := 0; i < len(more); i += 2 {
		m[more[i]] = more[i+1]
	}
	return m
}

func load(t *testing.T, yaml string, env map[string]string) (settings.Settings, error) {
	t.Helper()
	path := ""
	if yaml != "" {
		path = filepath.Join(t.TempDir(), "finx.yaml")
		if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var environ []string
	for k, v := range env {
		environ = append(environ, k+"="+v)
	}
	return settings.Load(path, func(k string) string { return env[k] }, environ, settings.Need{FinX: true, Vault: true})
}

func TestDefaultsAreTheContracts(t *testing.T) {
	s, err := load(t, "", env())
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string][2]any{
		"NATS_URL":                {s.NATS.URL.Reveal(), "nats://127.0.0.1:4222"},
		"NATS_TLS_FIRST":          {s.NATS.TLSFirst, false},
		"NATS_INBOX_PREFIX":       {s.NATS.InboxPrefix, "_INBOX_connector"},
		"VAULT_ADDR":              {s.Vault.Addr, "https://127.0.0.1:8200"},
		"VAULT_AUTH":              {s.Vault.Auth, "token"},
		"VAULT_KV_MOUNT":          {s.Vault.KVMount, "secret"},
		"VAULT_KV_PREFIX":         {s.Vault.KVPrefix, "finx"},
		"LISTEN_ADDR":             {s.Process.ListenAddr, ":8080"},
		"SUBJECT_PREFIX":          {s.Subjects.Prefix, ""},
		"SUBJECT_PER_CONNECTION":  {s.Subjects.PerConnection, false},
		"REDIRECT_URI_ALLOW":      {len(s.Subjects.RedirectURIAllow), 0},
		"STREAM_REPLICAS":         {s.Streams.Replicas, 0},
		"SYNC_INTERVAL":           {s.Fetch.Interval, 6 * time.Hour},
		"LOG_LEVEL":               {s.Process.LogLevel, slog.LevelInfo},
		"LOG_FORMAT":              {s.Process.LogFormat, "json"},
		"FINX_PATH_ACCESS":        {s.FinX.Paths.Access, "/ongoing/access"},
		"FINX_PATH_PROBE":         {s.FinX.Paths.Probe, "/category-tree"},
		"FINX_TIMEOUT_LINK":       {s.FinX.Timeouts.Link, 20 * time.Second},
		"FINX_TIMEOUT_TOKEN":      {s.FinX.Timeouts.Token, 45 * time.Second},
		"FINX_TIMEOUT_ACCOUNTS":   {s.FinX.Timeouts.Accounts, 30 * time.Second},
		"FINX_TIMEOUT_PAGE":       {s.FinX.Timeouts.Page, time.Minute},
		"FINX_RETRY_BUDGET":       {s.FinX.RetryBudget, 10 * time.Second},
		"FINX_THROTTLE_DEFAULT":   {s.FinX.ThrottleDefault, 30 * time.Second},
		"FINX_MAX_BODY_BYTES":     {s.FinX.MaxBodyBytes, int64(64 << 20)},
		"FINX_CODE_LIFETIME":      {s.FinX.CodeLifetime, time.Hour},
		"FINX_RATE":               {s.FinX.Rate, 0.0},
		"FINX_CONCURRENCY":        {s.FinX.Concurrency, 0},
		"BREAKER_FAILURES":        {s.Handling.BreakerFailures, 5},
		"BREAKER_WAIT_MAX":        {s.Handling.BreakerWaitMax, time.Minute},
		"PARK_AFTER":              {s.Handling.ParkAfter, time.Minute},
		"FINX_REFRESH_SKEW":       {s.FinX.RefreshSkew, 2 * time.Minute},
		"FINX_REFRESH_LIFETIME":   {s.FinX.RefreshLifetime, 90 * 24 * time.Hour},
		"FINX_KEEPALIVE_LEAD":     {s.FinX.KeepAliveLead, 30 * 24 * time.Hour},
		"FINX_KEEPALIVE_RATE":     {s.FinX.KeepAliveRate, 5.0},
		"FINX_EXPIRING_NOTICE":    {s.FinX.ExpiringNotice, 7 * 24 * time.Hour},
		"FINX_TOKEN_REPLAY":       {s.FinX.TokenReplay, settings.ReplayAlways},
		"LEASE_TTL":               {s.Handling.LeaseTTL, time.Duration(0)},
		"CLOCK_SKEW":              {s.Handling.ClockSkew, 5 * time.Second},
		"SWEEP_RATE":              {s.Process.SweepRate, 100},
		"VAULT_TRANSIT_MOUNT":     {s.Vault.TransitMount, "transit"},
		"VAULT_TRANSIT_KEY":       {s.Vault.TransitKey, "finx-escrow"},
		"ESCROW_KEY":              {s.Vault.EscrowKeys, secret.Text{}},
		"ESCROW_DIR":              {s.Vault.EscrowDir, ""},
		"PAGE_SIZE":               {s.Fetch.PageSize, 1000},
		"CHUNK_BYTES":             {s.Fetch.ChunkBytes, int64(512 << 10)},
		"FETCH_OVERLAP":           {s.Fetch.Overlap, 240 * time.Hour},
		"FETCH_SINCE_TYPE":        {s.Fetch.SinceType, "booked"},
		"concurrency":             {s.Concurrency, settings.Concurrency{Connects: 16, Callbacks: 32, Syncs: 16, Erasures: 2, Due: 8}},
		"CONNECT_TIMEOUT":         {s.Handling.ConnectTimeout, 2 * time.Minute},
		"CALLBACK_TIMEOUT":        {s.Handling.CallbackTimeout, 5 * time.Minute},
		"SYNC_TIMEOUT":            {s.Handling.SyncTimeout, time.Hour},
		"ACK_WAIT":                {s.Handling.AckWait, 30 * time.Second},
		"MAX_ATTEMPTS":            {s.Handling.MaxAttempts, 20},
		"RETRY_DELAY_MAX":         {s.Handling.RetryDelayMax, time.Minute},
		"OUTAGE_AFTER":            {s.Handling.OutageAfter, 24 * time.Hour},
		"PUBLISH_TIMEOUT":         {s.Handling.PublishTimeout, time.Minute},
		"DRAIN_TIMEOUT":           {s.Process.DrainTimeout, 45 * time.Second},
		"MAX_INPUT_BYTES":         {s.Subjects.MaxInputBytes, int64(512 << 10)},
		"warnings":                {s.Warnings, []string(nil)},
		"streams":                 {s.Streams, settings.Streams{Requests: "FINX_REQUESTS", Syncs: "FINX_REQUESTS", Erasures: "FINX_REQUESTS", Callbacks: "FINX_CALLBACKS", Events: "FINX_EVENTS", Timers: "FINX_TIMERS", DLQ: "FINX_DLQ"}},
		"secrets are taken as is": {s.FinX.ClientSecret, secret.New(canary)},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s = %v, want %v", name, pair[0], pair[1])
		}
	}
}

// sample has a value for every setting that differs from its default.
func sample() map[string]string {
	m := map[string]string{
		"NATS_URL": "tls://user:" + canary + "@a.example:4222,tls://b.example:4222", "NATS_CREDS": "a.creds", "NATS_CA": "ca.pem",
		"NATS_CERT": "c.pem", "NATS_KEY": "k.pem", "NATS_TLS_FIRST": "true", "NATS_INBOX_PREFIX": "_INBOX_eu.c1", "VAULT_ADDR": "http://127.0.0.1:8200", "VAULT_TOKEN": canary, "VAULT_AUTH": "approle",
		"VAULT_SKIP_VERIFY": "true", "VAULT_KV_MOUNT": "kv/eu", "VAULT_KV_PREFIX": "team/finx", "VAULT_CLIENT_CERT": "c.pem", "VAULT_CLIENT_KEY": "k.pem",
		"FINX_BASE_URL": "http://127.0.0.1:9000/x/", "FINX_ALLOW_HTTP": "true", "SUBJECT_PREFIX": "eu.prod", "SUBJECT_PER_CONNECTION": "true",
		"REDIRECT_URI_ALLOW": "https://App.Example:443, http://localhost:3000", "STREAM_REPLICAS": "3", "STREAM_MAX_AGE": "720h", "STREAM_MAX_BYTES": "2GiB",
		"FINX_TOKEN_REPLAY": "never", "FINX_KEEPALIVE_RATE": "0.5", "SWEEP_RATE": "7", "FINX_RATE": "0.25", "FINX_CONCURRENCY": "3", "BREAKER_FAILURES": "4", "ESCROW_KEY": escrowKey('a') + ", " + escrowKey('b'), "ESCROW_DIR": "/var/lib/finx",
		"FETCH_SINCE_TYPE": "modified", "LISTEN_ADDR": "127.0.0.1:9090", "LOG_LEVEL": "WARN", "LOG_FORMAT": "text", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://127.0.0.1:4319/traces",
	}
	for _, s := range settings.Table() {
		switch {
		case m[s.Env] != "" || s.Env == "NATS_NKEY_SEED_FILE": // not beside NATS_CREDS
		case strings.HasPrefix(s.Env, "FINX_PATH_"):
			m[s.Env] = "/other" + strings.ToLower(s.Env)
		case strings.Contains(s.Allowed, "KiB"):
			m[s.Env] = "3MiB"
		case strings.HasPrefix(s.Allowed, "1 to "):
			m[s.Env] = "5"
		case strings.Contains(s.Allowed, "s to ") || strings.Contains(s.Allowed, "h to "):
			m[s.Env] = "61m"
		default:
			m[s.Env] = "some-" + strings.ToLower(s.Env)
		}
	}
	m["SYNC_TIMEOUT"], m["CALLBACK_TIMEOUT"], m["FINX_REFRESH_LIFETIME"] = "2h", "2h", "2h"
	m["LEASE_TTL"], m["CLOCK_SKEW"] = "9m", "9m"
	for _, env := range []string{
		"FINX_TIMEOUT_LINK", "FINX_TIMEOUT_TOKEN", "FINX_TIMEOUT_ACCOUNTS", "FINX_TIMEOUT_PAGE", "FINX_RETRY_BUDGET",
		"FINX_THROTTLE_DEFAULT", "FINX_REFRESH_SKEW", "FINX_EXPIRING_NOTICE", "ACK_WAIT", "RETRY_DELAY_MAX", "PUBLISH_TIMEOUT", "DRAIN_TIMEOUT", "BREAKER_WAIT_MAX",
	} {
		m[env] = "59m"
	}
	return m
}

// Every row of the table fills a field of its own, from the environment and from
// the file alike.
func TestEverySettingReachesItsField(t *testing.T) {
	values := sample()
	fromEnv, err := load(t, "", values)
	if err != nil {
		t.Fatal(err)
	}
	var yaml strings.Builder
	for k, v := range values {
		fmt.Fprintf(&yaml, "%s: %q\n", strings.ToLower(k), v)
	}
	fromFile, err := load(t, yaml.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	a, b := leaves(reflect.ValueOf(fromEnv), ""), leaves(reflect.ValueOf(fromFile), "")
	if !reflect.DeepEqual(a, b) {
		t.Errorf("environment %v\nfile %v", a, b)
	}
	nkey, err := load(t, "", env("NATS_NKEY_SEED_FILE", "seed.nk"))
	if err != nil || nkey.NATS.NkeySeedFile != "seed.nk" {
		t.Errorf("NATS_NKEY_SEED_FILE: %v", err)
	}
	for _, path := range []string{".NATS.NkeySeedFile", ".Vault.TokenFile", ".Vault.SecretIDFile"} { // each has a test of its own
		delete(a, path)
	}
	plain, err := load(t, "", env())
	if err != nil {
		t.Fatal(err)
	}
	defaults := leaves(reflect.ValueOf(plain), "")
	for path, v := range a {
		if v == defaults[path] {
			t.Errorf("%s stayed %s: no setting reaches it", path, v)
		}
	}
	if len(a) != len(values) {
		t.Errorf("%d fields, %d settings", len(a), len(values))
	}
}

// leaves returns the values of all fields below v by path, secrets revealed.
func leaves(v reflect.Value, path string) map[string]string {
	out := map[string]string{}
	if text, ok := reflect.TypeAssert[secret.Text](v); ok {
		return map[string]string{path: text.Reveal()}
	}
	if v.Kind() != reflect.Struct {
		return map[string]string{path: fmt.Sprint(v.Interface())}
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() || path == "" && f.Name == "Warnings" {
			continue
		}
		maps.Copy(out, leaves(v.Field(i), path+"."+f.Name))
	}
	return out
}

func TestTheEnvironmentWins(t *testing.T) {
	s, err := load(t, "page_size: 7\nlog_level: debug\nlog_format: text\n", env("PAGE_SIZE", "9", "LOG_FORMAT", ""))
	if err != nil {
		t.Fatal(err)
	}
	if s.Fetch.PageSize != 9 || s.Process.LogLevel != slog.LevelDebug || s.Process.LogFormat != "text" {
		t.Errorf("page size %d, level %v, format %s", s.Fetch.PageSize, s.Process.LogLevel, s.Process.LogFormat)
	}
	i := slices.IndexFunc(s.Values(), func(v settings.Value) bool { return v.Env == "LOG_LEVEL" })
	if v := s.Values()[i]; v.Shown != "debug" || !strings.HasSuffix(v.Source, "finx.yaml line 2") {
		t.Errorf("%+v", v)
	}
}

func TestOriginsAreNormalised(t *testing.T) {
	want := []string{"https://app.example", "http://localhost:3000", "https://b.example:8443"}
	for name, yaml := range map[string]string{
		"text": `redirect_uri_allow: "https://App.Example:443, http://localhost:3000/,https://b.example:8443"`,
		"list": "redirect_uri_allow:\n  - https://App.Example:443\n  - http://localhost:3000\n  - https://b.example:8443\n",
	} {
		s, err := load(t, yaml, env())
		if err != nil || !slices.Equal(s.Subjects.RedirectURIAllow, want) {
			t.Errorf("%s: %v, %v", name, s.Subjects.RedirectURIAllow, err)
		}
	}
}

func TestSecretsComeFromFilesToo(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	good, empty := write("good", " in the file \n"), write("empty", "\n")
	e := env("FINX_CLIENT_SECRET", "", "FINX_CLIENT_SECRET_FILE", good)
	s, err := load(t, "", e)
	if err != nil || s.FinX.ClientSecret.Reveal() != " in the file " {
		t.Errorf("%q, %v", s.FinX.ClientSecret.Reveal(), err)
	}
	// The environment wins in either form.
	s, err = load(t, "finx_client_secret: other\nvault_token_file: "+good+"\n", e)
	if err != nil || s.FinX.ClientSecret.Reveal() != " in the file " || s.Vault.Token.Reveal() != canary+"-v" {
		t.Errorf("%q, %q, %v", s.FinX.ClientSecret.Reveal(), s.Vault.Token.Reveal(), err)
	}
	if s.Vault.TokenFile != "" {
		t.Errorf("the token was given directly, not in %s", s.Vault.TokenFile)
	}
	s, err = load(t, "vault_secret_id_file: "+good, env("VAULT_TOKEN", "", "VAULT_TOKEN_FILE", good))
	if err != nil || s.Vault.TokenFile != good || s.Vault.SecretIDFile != good || s.Vault.Token.Reveal() != " in the file " {
		t.Errorf("token file %q, secret id file %q, %v", s.Vault.TokenFile, s.Vault.SecretIDFile, err)
	}
	for name, tt := range map[string]struct {
		yaml string
		env  map[string]string
		want string
	}{
		"both in the environment": {"", env("FINX_CLIENT_SECRET_FILE", good), "settings: FINX_CLIENT_SECRET (environment): given twice, also as FINX_CLIENT_SECRET_FILE; keep one"},
		"both in the file": {
			"finx_client_secret: " + canary + "\nfinx_client_secret_file: " + good, env("FINX_CLIENT_SECRET", ""),
			"finx.yaml line 2): given twice, also as FINX_CLIENT_SECRET_FILE; keep one",
		},
		"empty":                       {"", env("FINX_CLIENT_SECRET", "", "FINX_CLIENT_SECRET_FILE", empty), "settings: FINX_CLIENT_SECRET_FILE (environment): the file is empty"},
		"missing":                     {"", env("VAULT_TOKEN", "", "VAULT_TOKEN_FILE", "/nowhere/token"), "settings: VAULT_TOKEN_FILE (environment): the file cannot be read: no such file or directory"},
		"the secret in place of path": {"", env("VAULT_TOKEN", "", "VAULT_TOKEN_FILE", canary), "settings: VAULT_TOKEN_FILE (environment): the file cannot be read: no such file or directory"},
	} {
		_, err := load(t, tt.yaml, tt.env)
		if err == nil || !strings.HasSuffix(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want %s", name, err, tt.want)
		}
		leaksNothing(t, name, fmt.Sprint(err))
	}
}

func leaksNothing(t *testing.T, what, text string) {
	t.Helper()
	if strings.Contains(text, "CANARY") || strings.Contains(text, "s3cr3t") {
		t.Errorf("%s leaks a secret: %s", what, text)
	}
}

func TestSettingsPrintWithoutSecrets(t *testing.T) {
	s, err := load(t, "", sample())
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "settings", s, "nats", s.NATS, "values", s.Values())
	asJSON, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	leaksNothing(t, "printing", fmt.Sprintf("%v %+v %#v %v %#v %+v", s, s, s, s.NATS, s.Vault, s.Values())+log.String()+string(asJSON))
	if got := s.NATS.ShownURL(); got != "tls://a.example:4222,tls://b.example:4222" {
		t.Errorf("shown as %s", got)
	}
	for _, v := range s.Values() {
		if v.Env == "VAULT_TOKEN" && v.Shown != "[redacted]" || v.Env == "NATS_URL" && v.Shown != s.NATS.ShownURL() {
			t.Errorf("%+v", v)
		}
	}
}
