package settings_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/settings"
)

func FuzzFile(f *testing.F) {
	f.Add("page_size: 7\nlog_level: debug\n")
	f.Add("vault_token: *x\n")
	f.Add("a: &a [*a]\n")
	f.Add("redirect_uri_allow: [https://a.example, 'https://b.example']\n")
	f.Add("? {a: b}\n: c\n")
	f.Add("--- !!binary aGk=\n")
	f.Add("%YAML 1.2\n---\n<<: {page_size: 1}\n")
	f.Fuzz(func(t *testing.T, yaml string) {
		path := filepath.Join(t.TempDir(), "f.yaml")
		if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := settings.Load(path, func(string) string { return "" }, nil, settings.Need{})
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.HasPrefix(line, "settings: ") {
					t.Errorf("a line without its origin: %q", line)
				}
			}
			return
		}
		if s.Fetch.PageSize < 1 || len(s.Values()) != len(settings.Table()) {
			t.Errorf("half filled: %+v", s)
		}
	})
}
