package settings

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Setting is one line of the table.
type Setting struct {
	Env         string // name of the variable; in lower case the key of the file
	Group       string // heading
	Default     string // as it would be written; empty = none
	DefaultText string // what is shown when Default alone would not explain
	Doc         string
	Allowed     string // what may be written
	Secret      bool   // may be given as <Env>_FILE, and is never shown

	set func(*Settings, string) error // the error says what is allowed, and holds no value
	// path, if set, takes the path of a secret given as <Env>_FILE, for who reads
	// it again when the secret has been rotated.
	path func(*Settings) *string
}

// Key is the name of the setting in the file.
func (s Setting) Key() string { return strings.ToLower(s.Env) }

// shownDefault is the default for people.
func (s Setting) shownDefault() string {
	switch {
	case s.DefaultText != "":
		return s.DefaultText
	case s.Default != "":
		return "`" + s.Default + "`"
	}
	return "none"
}

// Table returns all settings, grouped, in the order in which they are shown.
func Table() []Setting {
	var all []Setting
	for _, g := range []struct {
		name string
		rows []Setting
	}{
		{"NATS", natsTable()},
		{"Vault", vaultTable()},
		{"finX", finxTable()},
		{"Custody of tokens", custodyTable()},
		{"Subjects and streams", streamsTable()},
		{"Fetching", fetchTable()},
		{"Handling events", handlingTable()},
		{"Process", processTable()},
	} {
		for _, row := range g.rows {
			row.Group = g.name
			all = append(all, row)
		}
	}
	return all
}

// Markdown returns the README's section about settings: a table a group.
func Markdown() string {
	var b strings.Builder
	group := ""
	for _, s := range Table() {
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(&b, "\n**%s**\n\n| variable | meaning | allowed | default |\n|---|---|---|---|\n", group)
		}
		name := "`" + s.Env + "`"
		if s.Secret {
			name += " (or `" + s.Env + "_FILE`)"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, s.Doc, escape(s.Allowed), s.shownDefault())
	}
	return strings.TrimPrefix(b.String(), "\n")
}

func escape(cell string) string { return strings.ReplaceAll(cell, "|", `\|`) }

// Help writes all settings as plain text, for --help.
func Help(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	group := ""
	for _, s := range Table() {
		if s.Group != group {
			group = s.Group
			_, _ = fmt.Fprintf(out, "%s:\n", group) // Flush returns the error
		}
		name := s.Env
		if s.Secret {
			name += "[_FILE]"
		}
		_, _ = fmt.Fprintf(out, "  %s\t%s (%s)\n", name, strings.ReplaceAll(s.Doc, "`", ""), strings.ReplaceAll(s.shownDefault(), "`", ""))
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("settings: writing the listing: %w", err)
	}
	return nil
}
