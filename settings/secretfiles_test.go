package settings_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/finx-connector/finx-connector/settings"
)

func TestFilesWithSecretsAreKnown(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	token, creds := write("token", "t"), write("user.creds", "c")
	config := write("config.yaml", "finx_client_secret: s\nvault_role_id: r\npage_size: 7\nnats_creds: "+creds+"\n")
	env := map[string]string{"VAULT_TOKEN_FILE": token, "VAULT_SECRET_ID": "from the environment"}
	s, err := settings.Load(config, func(name string) string { return env[name] }, nil, settings.Need{})
	if err != nil {
		t.Fatal(err)
	}
	want := []settings.SecretFile{{Name: "VAULT_TOKEN_FILE", Path: token}, {Name: "--config", Path: config}, {Name: "NATS_CREDS", Path: creds}}
	if got := s.SecretFiles(); !slices.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
	if s, err = settings.Load("", func(string) string { return "" }, nil, settings.Need{}); err != nil || len(s.SecretFiles()) != 0 {
		t.Errorf("files %v, %v", s.SecretFiles(), err)
	}
}
