package settings_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/settings"
)

func TestListenAddrNeedsNothingElse(t *testing.T) {
	for name, tc := range map[string]struct {
		yaml string
		env  map[string]string
		want string
	}{
		"default":                 {"", nil, ":8080"},
		"environment":             {"", map[string]string{"LISTEN_ADDR": "[::1]:9"}, "[::1]:9"},
		"file":                    {"listen_addr: 127.0.0.1:7\n", nil, "127.0.0.1:7"},
		"the environment wins":    {"listen_addr: 127.0.0.1:7\n", map[string]string{"LISTEN_ADDR": ":9"}, ":9"},
		"others may be bad":       {"page_size: -1\nno_such_key: 1\nlisten_addr: :7\n", map[string]string{"ACK_WAIT": "soon"}, ":7"},
		"secrets are not read":    {"", map[string]string{"FINX_CLIENT_SECRET_FILE": "/no/such/file"}, ":8080"},
		"a file without anything": {"# nothing\n", nil, ":8080"},
	} {
		got, err := settings.ListenAddr(written(t, tc.yaml), func(k string) string { return tc.env[k] })
		if err != nil || got != tc.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, tc.want)
		}
	}
}

func TestListenAddrRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ path, env, want string }{
		"no address":   {"", "8080", "settings: LISTEN_ADDR (environment): not allowed"},
		"no such file": {"/no/such/file", "", "settings: opening the file"},
		"no YAML":      {written(t, "{"), "", "not valid YAML"},
	} {
		_, err := settings.ListenAddr(tc.path, func(string) string { return tc.env })
		if !strings.Contains(errText(err), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// written returns the path of a file with this text, or none for no text.
func written(t *testing.T, yaml string) string {
	t.Helper()
	if yaml == "" {
		return ""
	}
	path := filepath.Join(t.TempDir(), "finx.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
