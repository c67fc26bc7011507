package e2e_test

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

var update = flag.Bool("update", false, "draw the tables in docs/custody.md again, from what is counted now")

const (
	custodyPage = "../docs/custody.md"
	tableEnd    = "<!-- end of table -->\n"
)

// page is locked while docs/custody.md is read or written.
var page sync.Mutex

// table is a part of docs/custody.md that these tests draw, and hold to what
// they count.
type table struct {
	t    *testing.T
	name string
	head []string

	mu   sync.Mutex
	rows []*row
}

// row is a moment, with what was counted for each provider.
type row struct {
	number, what string
	providers    []string
	cells        map[string][]string
}

func newTable(t *testing.T, name string, head []string) *table {
	t.Helper()
	return &table{t: t, name: name, head: head}
}

// tableHead names the columns: what happened, and the cells of a tally.
func tableHead(kind, what string) []string {
	effects := map[string]string{exchange: "codes exchanged", refresh: "rotations"}[kind]
	return []string{"#", what, "finX", effects, "token calls", "reuses seen", "families revoked", "lost", "published", "processes"}
}

// begin is the line before the table.
func (tb *table) begin() string {
	return "<!-- table: " + tb.name + "; drawn by make crash-tables -->\n"
}

// expect says that a row will come for a provider. It is called in the order of
// the page, before the cases run.
func (tb *table) expect(number, what, provider string) {
	if n := len(tb.rows); n == 0 || tb.rows[n-1].number != number {
		tb.rows = append(tb.rows, &row{number: number, what: what, cells: map[string][]string{}})
	}
	last := tb.rows[len(tb.rows)-1]
	last.providers = append(last.providers, provider)
}

// add takes what a case has counted and compares it with the page.
func (tb *table) add(t *testing.T, number, provider string, cells []string) {
	t.Helper()
	tb.mu.Lock()
	i := slices.IndexFunc(tb.rows, func(r *row) bool { return r.number == number })
	tb.rows[i].cells[provider] = cells
	tb.mu.Unlock()
	if *update {
		return
	}
	page.Lock()
	defer page.Unlock()
	_, drawn, _ := tb.read(t)
	for line := range strings.Lines(drawn) {
		fields := split(line)
		if len(fields) < 4 || fields[0] != number || !covers(fields[2], provider) {
			continue
		}
		if !slices.Equal(fields[3:], cells) {
			t.Errorf("%s says of %s:\n%v\ncounted:\n%v", custodyPage, tb.name, fields[3:], cells)
		}
		return
	}
	t.Errorf("%s says nothing of %s, %s, %s; counted: %v", custodyPage, tb.name, number, provider, cells)
}

// done draws the table again if that was asked for, or else looks for rows that
// nothing stands behind. A run that was narrowed compares its own rows only.
func (tb *table) done() {
	tb.t.Helper()
	var b strings.Builder
	b.WriteString("\n" + line(tb.head) + "|" + strings.Repeat(" --- |", len(tb.head)) + "\n")
	for _, r := range tb.rows {
		if len(r.cells) != len(r.providers) {
			return
		}
		r.draw(&b)
	}
	b.WriteString("\n")
	page.Lock()
	defer page.Unlock()
	before, drawn, after := tb.read(tb.t)
	if drawn == b.String() {
		return
	}
	if !*update {
		tb.t.Errorf("%s has another table of %s than was counted:\n%s", custodyPage, tb.name, b.String())
		return
	}
	if err := os.WriteFile(custodyPage, []byte(before+tb.begin()+b.String()+tableEnd+after), 0o600); err != nil {
		tb.t.Fatal(err)
	}
}

// draw writes one line for all providers that come to the same.
func (r *row) draw(b *strings.Builder) {
	var done []string
	for _, p := range r.providers {
		if slices.Contains(done, p) {
			continue
		}
		var same []string
		for _, q := range r.providers {
			if slices.Equal(r.cells[p], r.cells[q]) {
				same = append(same, q)
			}
		}
		done = append(done, same...)
		who := strings.Join(same, ", ")
		if len(same) == len(r.providers) && len(same) > 1 {
			who = "any"
		}
		b.WriteString(line(append([]string{r.number, r.what, who}, r.cells[p]...)))
	}
}

func line(cells []string) string { return "| " + strings.Join(cells, " | ") + " |\n" }

func split(line string) []string {
	line = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(line), "| "), " |")
	return strings.Split(line, " | ")
}

func covers(who, provider string) bool {
	return who == "any" || slices.Contains(strings.Split(who, ", "), provider)
}

// read returns the page before, in and after the table, for holders of the lock.
func (tb *table) read(t *testing.T) (before, drawn, after string) {
	t.Helper()
	raw, err := os.ReadFile(custodyPage)
	if errors.Is(err, fs.ErrNotExist) {
		raw = []byte("# Custody of the tokens\n\n")
	} else if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(raw), tb.begin())
	if !found {
		return before + "\n", "", ""
	}
	drawn, after, found = strings.Cut(rest, tableEnd)
	if !found {
		t.Fatalf("%s has no end of the table of %s", custodyPage, tb.name)
	}
	return before, drawn, after
}
