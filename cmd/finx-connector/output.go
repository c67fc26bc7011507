package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"
)

// format is the flag -o. The zero value is a table.
type format string

const (
	formatTable format = "table"
	formatJSON  format = "json"
)

func (f *format) flag(c *cobra.Command) {
	c.Flags().VarP(f, "output", "o", "output `format`: table or json")
}

func (f *format) json() bool { return *f == formatJSON }

// String, Set and Type make it a flag.
func (f *format) String() string {
	if *f == "" {
		return string(formatTable)
	}
	return string(*f)
}

func (f *format) Set(v string) error {
	switch format(v) {
	case formatTable, formatJSON:
		*f = format(v)
		return nil
	}
	return errors.New("must be table or json")
}

func (f *format) Type() string { return "format" }

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return nil
}

// table writes rows in columns. Cells come from other people's events, so what
// a terminal would act on is made visible.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer, heads ...string) table {
	t := table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	t.row(heads...)
	return t
}

func (t table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = printable(c)
		if c == "" {
			cells[i] = "-"
		}
	}
	fmt.Fprintln(t.w, strings.Join(cells, "\t"))
}

func (t table) flush() error { return t.w.Flush() }

// printable escapes control characters, also those that turn the direction of
// writing around.
func printable(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	quoted := strconv.Quote(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// shown is a time for people: UTC, to the second; empty when there is none.
func shown(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// cut shortens a cell that would make the table too wide to read.
func cut(s string, most int) string {
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	return string(runes[:most-1]) + "…"
}
