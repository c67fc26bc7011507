package settings

import (
	"strings"
)

// SecretFile is a file that holds a secret, and the setting that names it.
type SecretFile struct {
	Name string // such as VAULT_TOKEN_FILE, or --config
	Path string
}

// SecretFiles returns every file that the settings in force read a secret from, each
// once a setting, and the settings file if a secret stands in it.
func (s Settings) SecretFiles() []SecretFile {
	all := append([]SecretFile(nil), s.files...)
	for _, f := range []SecretFile{
		{"NATS_CREDS", s.NATS.CredsFile},
		{"NATS_NKEY_SEED_FILE", s.NATS.NkeySeedFile},
		{"NATS_KEY", s.NATS.KeyFile},
		{"VAULT_CLIENT_KEY", s.Vault.ClientKey},
	} {
		if f.Path != "" {
			all = append(all, f)
		}
	}
	return all
}

// fileOf returns the file that the secret of a row was read from, if it was.
func fileOf(row Setting, g given, config string) (SecretFile, bool) {
	switch {
	case !row.Secret:
	case g.file != "":
		return SecretFile{row.Env + "_FILE", g.file}, true
	case config != "" && strings.HasPrefix(g.source, config+" line "):
		return SecretFile{"--config", config}, true
	}
	return SecretFile{}, false
}
