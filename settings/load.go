package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Need says which servers the command at hand speaks to, beside NATS. What is
// only required for the others may be missing then.
type Need struct{ FinX, Vault bool }

// Load reads the file at path (none when empty) and the environment, which wins.
// getenv returns the value of a variable, empty meaning not set; environ lists the
// environment as os.Environ does and only serves the warnings. All that is wrong
// comes back at once, a line each (errors.Join).
func Load(path string, getenv func(string) string, environ []string, need Need) (Settings, error) {
	var l loader
	if path != "" {
		f, err := os.Open(path) //nolint:gosec // the operator's own file
		if err != nil {
			return Settings{}, fmt.Errorf("settings: opening the file: %w", err)
		}
		defer f.Close() //nolint:errcheck // read only
		data, err := readBounded(f)
		if err != nil {
			return Settings{}, fmt.Errorf("settings: reading %s: %w", path, err)
		}
		if err := l.readFile(path, data); err != nil {
			return Settings{}, err
		}
	}
	s := l.settings(getenv)
	l.check(s, need)
	if len(l.problems) > 0 {
		return Settings{}, errors.Join(l.problems...)
	}
	s.Warnings = unknownVariables(environ)
	return s, nil
}

// loader collects what is wrong on the way.
type loader struct {
	file     map[string]given // by key
	refused  map[string]bool  // variables whose value was no good
	problems []error
}

// given is a value, where it stands, and the file it was read from if it was.
type given struct{ value, source, file string }

const fromEnvironment = "environment"

// maxFile bounds the files that are read: settings and secrets.
const maxFile = 1 << 20

func readBounded(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("larger than %d bytes", maxFile)
	}
	return data, err
}

// problem notes what is wrong with a setting. what must not hold its value.
func (l *loader) problem(name, source, what string) {
	if source != "" {
		name += " (" + source + ")"
	}
	l.problems = append(l.problems, fmt.Errorf("settings: %s: %s", name, what))
}

// refuse is problem for a value that was given, so that it is not called missing
// as well.
func (l *loader) refuse(row Setting, name, source, what string) {
	if l.refused == nil {
		l.refused = map[string]bool{}
	}
	l.refused[row.Env] = true
	l.problem(name, source, what)
}

func (l *loader) settings(getenv func(string) string) Settings {
	var s Settings
	for _, row := range Table() {
		g := l.find(row, getenv)
		shown := Value{Env: row.Env, Source: g.source}
		if g.value == "" {
			g = given{value: row.Default}
			shown.Source = "default"
		}
		if g.value != "" {
			if err := row.set(&s, g.value); err != nil {
				l.refuse(row, row.Env, g.source, "not allowed; allowed is: "+err.Error())
			}
			if row.path != nil {
				*row.path(&s) = g.file
			}
			shown.Shown = g.value
			if row.Secret {
				shown.Shown = "[redacted]"
			}
			if row.Env == "NATS_URL" {
				shown.Shown = s.NATS.ShownURL()
			}
		}
		s.values = append(s.values, shown)
	}
	return s
}

// find returns the value of a setting: of the environment, else of the file. A
// secret may stand in a file of its own instead, but not in both at one place.
func (l *loader) find(row Setting, getenv func(string) string) given {
	sources := []func(name string) given{
		func(name string) given { return given{value: getenv(name), source: fromEnvironment} },
		func(name string) given { return l.file[strings.ToLower(name)] },
	}
	for _, look := range sources {
		direct, file := look(row.Env), given{}
		if row.Secret {
			file = look(row.Env + "_FILE")
		}
		switch {
		case direct.value != "" && file.value != "":
			l.refuse(row, row.Env, file.source, "given twice, also as "+row.Env+"_FILE; keep one")
			return given{}
		case direct.value != "":
			return direct
		case file.value != "":
			return l.secretFile(row, file)
		}
	}
	return given{}
}

// secretFile reads a secret from its file. The path is not shown in errors: a
// secret put into the wrong one of the two variables looks like a path.
func (l *loader) secretFile(row Setting, path given) given {
	name := row.Env + "_FILE"
	data, err := func() ([]byte, error) {
		f, err := os.Open(path.value)
		if err != nil {
			return nil, err
		}
		defer f.Close() //nolint:errcheck // read only
		return readBounded(f)
	}()
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		err = pe.Err
	}
	if err != nil {
		l.refuse(row, name, path.source, "the file cannot be read: "+err.Error())
		return given{}
	}
	value := string(bytes.TrimRight(data, "\r\n"))
	if value == "" {
		l.refuse(row, name, path.source, "the file is empty")
	}
	return given{value: value, source: path.source, file: path.value}
}

// check looks at what one setting alone cannot tell.
func (l *loader) check(s Settings, need Need) {
	require := func(name string, given bool, why string) {
		if !given && !l.refused[name] {
			l.problem(name, "", "required"+why+", but not set")
		}
	}
	if need.FinX {
		require("FINX_BASE_URL", s.FinX.BaseURL != "", "")
		require("FINX_CLIENT_ID", s.FinX.ClientID != "", "")
		require("FINX_CLIENT_SECRET", !s.FinX.ClientSecret.IsZero(), "")
	}
	if need.Vault {
		switch s.Vault.Auth {
		case AuthToken:
			require("VAULT_TOKEN", !s.Vault.Token.IsZero(), " with VAULT_AUTH=token")
		case AuthAppRole:
			require("VAULT_ROLE_ID", !s.Vault.RoleID.IsZero(), " with VAULT_AUTH=approle")
			require("VAULT_SECRET_ID", !s.Vault.SecretID.IsZero(), " with VAULT_AUTH=approle")
		case AuthKubernetes:
			require("VAULT_K8S_ROLE", s.Vault.KubernetesRole != "", " with VAULT_AUTH=kubernetes")
		}
	}
	l.checkTogether(s)
}

// checkTogether looks at settings that belong together.
func (l *loader) checkTogether(s Settings) {
	if (s.NATS.CertFile == "") != (s.NATS.KeyFile == "") {
		l.problem("NATS_CERT and NATS_KEY", "", "set both or none")
	}
	if (s.Vault.ClientCert == "") != (s.Vault.ClientKey == "") {
		l.problem("VAULT_CLIENT_CERT and VAULT_CLIENT_KEY", "", "set both or none")
	}
	if s.NATS.CredsFile != "" && s.NATS.NkeySeedFile != "" {
		l.problem("NATS_CREDS and NATS_NKEY_SEED_FILE", "", "set one of them")
	}
	// A handler that is cut off while finX answers loses the answer, and with it
	// the only valid refresh token.
	for name, deadline := range map[string]time.Duration{
		"CALLBACK_TIMEOUT": s.Handling.CallbackTimeout,
		"SYNC_TIMEOUT":     s.Handling.SyncTimeout,
	} {
		if deadline < s.FinX.Timeouts.Token && !l.refused[name] && !l.refused["FINX_TIMEOUT_TOKEN"] {
			l.problem(name, "", "must not be shorter than FINX_TIMEOUT_TOKEN")
		}
	}
}
