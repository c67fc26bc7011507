package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
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
	l.path = path
	s := l.settings(getenv)
	l.check(s, need)
	if len(l.problems) > 0 {
		return Settings{}, errors.Join(l.problems...)
	}
	s.Warnings = append(unknownVariables(environ), doubts(s)...)
	return s, nil
}

// loader collects what is wrong on the way.
type loader struct {
	path     string           // of the settings file
	file     map[string]given // by key
	refused  map[string]bool  // variables whose value was no good
	problems []error
}

// given is a value, where it stands, and the file it was read from if it was.
type given struct{ value, source, file string }

// Sources of a value, beside the file.
const (
	fromEnvironment = "environment"
	fromDefault     = "default"
)

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
			shown.Source = fromDefault
		}
		if g.value != "" {
			if err := row.set(&s, g.value); err != nil {
				l.refuse(row, row.Env, g.source, "not allowed; allowed is: "+err.Error())
			}
			if row.path != nil {
				*row.path(&s) = g.file
			}
			if f, ok := fileOf(row, g, l.path); ok && !slices.Contains(s.files, f) {
				s.files = append(s.files, f)
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
