package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/doctor"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

func TestDoctorOfAHealthyInstallation(t *testing.T) {
	in := installed(t)
	d := in.doctor(t, exitOK, "--redirect-uri", "https://app.example/callback").only(t)
	for _, f := range d.Findings {
		if f.Verdict != doctor.OK && f.Check != "sync_interval" {
			t.Errorf("%+v", f)
		}
	}
	d.says(t, doctor.Skip, "nats", "sync_interval", "--nats-monitor").
		says(t, doctor.OK, "redirects", "--redirect-uri").
		says(t, doctor.OK, "clock", "NATS").says(t, doctor.OK, "clock", "Vault").says(t, doctor.OK, "clock", "finX").
		says(t, doctor.OK, "streams", "copies", "single server")
	in.run(t, "doctor", "--only", "vault,clock").done(t).prints(t, "vault\n  ok    TLS", "clock\n").hides(t, "streams", "FINX_")
}

// TestDoctorChangesNothing: a message in each input, a record, and all there is stays
// as it is; finX is asked for nothing but its tree of categories.
func TestDoctorChangesNothing(t *testing.T) {
	in := installed(t)
	in.run(t, "emit", "connect", "--user-id", "me", "--redirect-uri", "https://app.example/cb").done(t)
	in.run(t, "emit", "callback", "--state", "s", "--success", "--code-file", "-").exits(t, exitUsage)
	before := in.everything(t)
	in.doctor(t, exitOK)
	if after := in.everything(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	for call, byStatus := range in.bank.Stats().Calls {
		if call != "categories" && len(byStatus) > 0 {
			t.Errorf("finX was asked for %s: %v", call, byStatus)
		}
	}
}

func TestDoctorOfSettings(t *testing.T) {
	in := installed(t)
	in.env["ACK_WAIT"], in.env["FINX_TIMEOUT_TOKEN"], in.env["FINX_CODE_LIFETIME"] = "5s", "3m", "5m"
	in.env["REDIRECT_URI_ALLOW"], in.env["ESCROW_DIR"], in.env["ESCROW_KEY"] = "http://app.example", t.TempDir(), canaryEscrow
	in.environ = []string{"FINX_BASE_ULR=x"}
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(canarySecret+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	delete(in.env, "FINX_CLIENT_SECRET")
	in.env["FINX_CLIENT_SECRET_FILE"] = path
	if err := os.WriteFile(filepath.Join(in.env["ESCROW_DIR"], "x.sealed"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(in.env["ESCROW_DIR"], 0o700); err != nil {
		t.Fatal(err)
	}
	in.doctor(t, exitFailed, "--redirect-uri", "https://elsewhere.example/").
		says(t, doctor.Warn, "settings", "ACK_WAIT", "leader election", "ACK_WAIT to 30s").
		says(t, doctor.Warn, "settings", "FINX_TIMEOUT_TOKEN", "FINX_CODE_LIFETIME (5m0s)").
		says(t, doctor.Warn, "settings", "CALLBACK_TIMEOUT").
		says(t, doctor.Warn, "settings", "DRAIN_TIMEOUT").
		says(t, doctor.Warn, "settings", "warning", "FINX_BASE_ULR").
		says(t, doctor.Warn, "settings", "FINX_CLIENT_SECRET_FILE", path, "chmod o-rwx "+path).
		says(t, doctor.Warn, "settings", "ESCROW_DIR", "1 sealed answers").
		says(t, doctor.OK, "settings", "escrow", "ESCROW_KEY").
		says(t, doctor.Warn, "redirects", "REDIRECT_URI_ALLOW", "http://app.example").
		says(t, doctor.Fail, "redirects", "--redirect-uri", "origin is not in REDIRECT_URI_ALLOW").
		says(t, doctor.OK, "vault", "transit", "ESCROW_KEY")
}

func TestDoctorWithoutSettings(t *testing.T) {
	in := installed(t)
	for _, name := range []string{"FINX_BASE_URL", "FINX_CLIENT_ID", "VAULT_TOKEN", "REDIRECT_URI_ALLOW"} {
		delete(in.env, name)
	}
	in.doctor(t, exitFailed).
		says(t, doctor.Fail, "settings", "needed by serve", "FINX_BASE_URL").
		says(t, doctor.Fail, "settings", "needed by serve", "VAULT_TOKEN").
		says(t, doctor.Skip, "finx", "all", "FINX_BASE_URL").
		says(t, doctor.Fail, "vault", "settings", "auth token needs a token").
		says(t, doctor.Warn, "redirects", "REDIRECT_URI_ALLOW", "any https URL").
		says(t, doctor.OK, "streams", "configuration")
	in.env["PAGE_SIZE"] = canaryPassword
	in.doctor(t, exitFailed).
		says(t, doctor.Fail, "settings", "values", "PAGE_SIZE (environment)").
		says(t, doctor.Skip, "nats", "all", "settings")
}

func TestDoctorFindsWhoListens(t *testing.T) {
	in := installed(t)
	in.env["LISTEN_ADDR"] = freeAddr(t)
	p := in.process(t, "serve")
	listening(t, &p.stderr)
	natstest.Eventually(t, 30*time.Second, func() bool {
		return in.run(t, "health", "--ready").code == exitOK
	}, "serve is ready")
	in.doctor(t, exitOK).
		says(t, doctor.OK, "settings", "LISTEN_ADDR", "serves, and is ready").
		says(t, doctor.OK, "state", "replicas", "1 live: 1 of version ").
		says(t, doctor.OK, "streams", "finx-callbacks", "pulls open")

	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	in.env["LISTEN_ADDR"] = strings.TrimPrefix(other.URL, "http://")
	in.doctor(t, exitFailed).says(t, doctor.Fail, "settings", "LISTEN_ADDR", "another program")
	in.env["LISTEN_ADDR"] = "192.0.2.1:80"
	in.doctor(t, exitFailed).says(t, doctor.Fail, "settings", "LISTEN_ADDR", "cannot be listened on")
}

// TestDoctorAsAProcess: exit codes leave the process, and nothing goes to the wrong
// stream.
func TestDoctorAsAProcess(t *testing.T) {
	in := installed(t)
	for _, tt := range []struct {
		args   string
		vault  string
		code   int
		stdout string
	}{
		{"doctor", in.env["VAULT_ADDR"], exitOK, "0 failed"},
		{"doctor --timeout 3s", "http://127.0.0.1:1", exitFailed, "1 failed"},
		{"doctor --timeout -1s", in.env["VAULT_ADDR"], exitUsage, ""},
	} {
		in.env["VAULT_ADDR"] = tt.vault
		p := in.process(t, strings.Fields(tt.args)...)
		_ = p.wait(t) // says the code in words
		out := p.stdout.String()
		if p.ProcessState.ExitCode() != tt.code || !strings.Contains(out, tt.stdout) || strings.Contains(out+p.stderr.String(), canarySecret) {
			t.Errorf("%s exits with %d, want %d\n%s%s", tt.args, p.ProcessState.ExitCode(), tt.code, out, p.stderr.String())
		}
		if wrong := p.stderr.String(); (wrong != "") != (tt.code != exitOK) {
			t.Errorf("%s writes to standard error: %s", tt.args, wrong)
		}
	}
}

// TestDoctorEndsInTime: servers that take connections and never answer.
func TestDoctorEndsInTime(t *testing.T) {
	in := installed(t)
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = deaf.Close() })
	for name, value := range map[string]string{"NATS_URL": "nats://u:" + canaryPassword + "@", "VAULT_ADDR": "http://", "FINX_BASE_URL": "http://"} {
		in.env[name] = value + deaf.Addr().String()
	}
	began := time.Now()
	d := in.run(t, "doctor", "--timeout", "2s").exits(t, exitFailed).hides(t, in.secrets()...)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	d.prints(t, "fail  server", "skip  credentials", "skipped: no connection to NATS", "no server answered that says its time")
}

func TestDoctorWrongUsage(t *testing.T) {
	r := &rig{env: map[string]string{"NATS_URL": "nats://127.0.0.1:1"}}
	for args, complaint := range map[string]string{
		"doctor --config /no/such/file": "/no/such/file",
		"doctor --timeout 0s":           "--timeout must be above 0",
		"doctor --only nats,disk":       "--only must be of settings, ",
		"doctor extra":                  "unknown command",
		"doctor -o xml":                 "must be table or json",
	} {
		if got := r.run(t, strings.Fields(args)...).exits(t, exitUsage).complains(t, complaint, "--help"); got.stdout != "" {
			t.Errorf("%s prints %s", args, got.stdout)
		}
	}
}

// TestDoctorOfTraces: what serve would not start with for the sake of traces.
func TestDoctorOfTraces(t *testing.T) {
	for name, wrong := range map[string]string{
		"OTEL_TRACES_SAMPLER": "sometimes", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/no/such/file", "OTEL_EXPORTER_OTLP_PROTOCOL": "tcp",
	} {
		in := &installation{rig: &rig{env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "LISTEN_ADDR": "127.0.0.1:0", name: wrong}}}
		in.doctor(t, exitFailed, "--only", "settings").says(t, doctor.Fail, "settings", "traces", "serve does not start", name)
		in.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = ""
		for _, f := range in.doctor(t, exitFailed, "--only", "settings").Findings { // for what serve needs beside
			if f.Check == "traces" {
				t.Errorf("traces are off, and are said to be wrong: %s", f.Seen)
			}
		}
	}
}
