package doctor

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/settings"
)

func TestTimesThatWorkAgainstEachOther(t *testing.T) {
	for name, tt := range map[string]struct {
		env   map[string]string
		check string
		says  string
	}{
		"an election":         {map[string]string{"ACK_WAIT": "10s"}, "ACK_WAIT", "delivered twice"},
		"a crash for an hour": {map[string]string{"ACK_WAIT": "1h"}, "ACK_WAIT", "a process that died"},
		"a code dies":         {map[string]string{"FINX_CODE_LIFETIME": "90s"}, "FINX_TIMEOUT_TOKEN", "FINX_CODE_LIFETIME (1m30s)"},
		"no second call":      {map[string]string{"CALLBACK_TIMEOUT": "60s"}, "CALLBACK_TIMEOUT", "both take up to 1m30s"},
		"a short drain":       {map[string]string{"DRAIN_TIMEOUT": "10s"}, "DRAIN_TIMEOUT", "cut it off"},
		"a hasty publisher":   {map[string]string{"PUBLISH_TIMEOUT": "5s"}, "PUBLISH_TIMEOUT", "leader election"},
		"dropped in waiting":  {map[string]string{"STREAM_MAX_AGE": "12h"}, "STREAM_MAX_AGE", "OUTAGE_AFTER (24h0m0s)"},
		"asked for nothing":   {map[string]string{"SYNC_INTERVAL": "1m"}, "SYNC_INTERVAL", "four times a day"},
		"never a second call": {map[string]string{"CALLBACK_TIMEOUT": "60s", "FINX_TOKEN_REPLAY": "never"}, "times", "agree"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := settings.Load("", func(name string) string { return tt.env[name] }, nil, settings.Need{})
			if err != nil {
				t.Fatal(err)
			}
			sheet := &Sheet{}
			checkTimes(sheet, s)
			want := Warn
			if tt.check == "times" {
				want = OK
			}
			expect(t, sheet, want, tt.says)
			if sheet.findings[0].Check != tt.check {
				t.Errorf("%+v", sheet.findings)
			}
		})
	}
}

func TestTheDirectoryForSealedAnswers(t *testing.T) {
	dir := t.TempDir()
	mkdir := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	full := mkdir("full", 0o700)
	if err := os.WriteFile(filepath.Join(full, "a.sealed"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]struct {
		verdict Verdict
		says    string
	}{
		mkdir("mine", 0o700):          {OK, "holds nothing"},
		filepath.Join(dir, "none"):    {OK, "serve makes it"},
		file:                          {Fail, "no directory"},
		mkdir("everybody's", 0o755):   {Warn, "chmod 700 "},
		full:                          {Warn, "1 sealed answers"},
		filepath.Join(file, "below"):  {Fail, "cannot be looked at"},
		filepath.Join(dir, "a", "b"):  {OK, "serve makes it"},
		"/proc/finx-connector-doctor": {Fail, "cannot be made"},
		"/proc/self/task":             {Fail, "cannot be written to"},
	} {
		sheet := &Sheet{}
		checkEscrowDir(sheet, path)
		expect(t, sheet, want.verdict, want.says)
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 4 {
		t.Errorf("%v are there, %v", all, err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "mine")); err != nil || len(left) != 0 {
		t.Errorf("%v are left, %v", left, err)
	}
}

func TestFilesWithSecrets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode]Verdict{0o600: OK, 0o440: OK, 0o644: Warn, 0o604: Warn} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		sheet := &Sheet{}
		checkSecretFiles(sheet, []settings.SecretFile{{Name: "VAULT_TOKEN_FILE", Path: path}})
		expect(t, sheet, want)
	}
	sheet := &Sheet{}
	checkSecretFiles(sheet, []settings.SecretFile{{Name: "NATS_CREDS", Path: "/no/such/file"}})
	expect(t, sheet, Fail, "no such file")
	if strings.Contains(sheet.findings[0].Seen, "/no/such") {
		t.Errorf("%+v", sheet.findings)
	}
}

func TestWhoListens(t *testing.T) {
	s := defaults(t)
	for name, tt := range map[string]struct {
		found Serving
		want  Verdict
		says  string
	}{
		"nobody":         {Serving{}, OK, "is free"},
		"another":        {Serving{Taken: true}, Fail, "another program"},
		"ours":           {Serving{Taken: true, Ours: true, Ready: true}, OK, "is ready"},
		"ours, not well": {Serving{Taken: true, Ours: true, Why: "vault: sealed"}, Warn, "not ready: vault: sealed"},
	} {
		t.Run(name, func(t *testing.T) {
			sheet := &Sheet{}
			checkListen(t.Context(), sheet, Settings{Settings: s, Serving: servingAs(tt.found)})
			expect(t, sheet, tt.want, ":8080", tt.says)
		})
	}
}

func servingAs(s Serving) func(context.Context, string) (Serving, error) {
	return func(context.Context, string) (Serving, error) { return s, nil }
}
