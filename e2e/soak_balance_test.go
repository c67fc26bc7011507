package e2e_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/finx-connector/finx-connector/events"
)

// ledgerLine is a row of the table: inputs = outputs + silent + letters + open.
type ledgerLine struct {
	kind                                            kind
	inputs, outputs, silent, letters, open, missing int
	said                                            map[string]int // outputs by what they say
}

// balance is the whole ledger, added up.
type balance struct {
	lines    []ledgerLine
	problems []string
}

// add adds the ledger up. open says of an input that nothing came of whether the
// broker still holds it; nil: nothing is held any more.
func (l *ledger) add(open func(input) bool) *balance {
	l.mu.Lock()
	defer l.mu.Unlock()
	inputs, outputs := l.sorted()
	ends, explained := map[string][]fact{}, map[string]bool{}
	for _, o := range outputs {
		ends[o.key()] = append(ends[o.key()], o)
	}
	b := &balance{problems: slices.Clone(l.faults)}
	rows := map[kind]*ledgerLine{}
	table := rules()
	for _, r := range table {
		rows[r.kind] = &ledgerLine{kind: r.kind, said: map[string]int{}}
	}
	for _, in := range inputs {
		i := slices.IndexFunc(table, func(r rule) bool { return r.kind == in.kind })
		if !table[i].silent { // a duplicate has the state of its original, which answers for it
			explained[in.key] = true
		}
		l.settle(b, rows[in.kind], table[i], in, ends[in.key], open)
	}
	for _, o := range outputs {
		if !explained[o.key()] && !isNoEnd(o) {
			b.problemf("%s: %s (%s) follows from no input", o.typ, o.says(), o.key())
		}
	}
	for _, r := range table {
		b.lines = append(b.lines, *rows[r.kind])
	}
	return b
}

// isNoEnd are outputs that end nothing.
func isNoEnd(o fact) bool {
	return o.typ == events.TypeConnectionExpiring || o.typ == events.TypeTransactionsFetched
}

func (b *balance) problemf(format string, args ...any) {
	b.problems = append(b.problems, fmt.Sprintf(format, args...))
}

// settle puts one input into its row.
func (l *ledger) settle(b *balance, row *ledgerLine, r rule, in input, ends []fact, open func(input) bool) {
	row.inputs++
	letter, buried := l.letters[place{in.stream, in.sequence}]
	revoked := l.revoked[in.conn]
	switch {
	case buried:
		row.letters++
		if want := cmp.Or(in.letter, r.letter); letter.class != string(want) {
			b.problemf("%s: %s is a dead letter of class %s: %s", in.kind, in.name(), letter.class, letter.text)
		}
	case r.silent:
		if open != nil && open(in) {
			row.open++
		} else {
			row.silent++
		}
	case len(ends) == 0 && open != nil && open(in):
		row.open++
	case len(ends) == 0 && in.kind == aTimerSync && revoked:
		row.silent++ // a timer of a connection that ended is no news to anybody
	case len(ends) == 0:
		row.missing++
		b.problemf("%s: nothing came of %s", in.kind, in.name())
	default:
		row.outputs++
		l.judge(b, row, r, in, ends)
	}
}

// judge looks at the outputs that ended an input: one, and one of those it may
// come to.
func (l *ledger) judge(b *balance, row *ledgerLine, r rule, in input, ends []fact) {
	row.said[ends[0].says()]++
	if l.revoked[in.conn] && len(ends) == 2 && (ends[0].says() == "completed") != (ends[1].says() == "completed") &&
		(slices.Contains(r.ended, ends[0].says()) || slices.Contains(r.ended, ends[1].says())) {
		// The process ended between telling and noting it, and the user took the access
		// away, or gave it again, before the second run of the same fetch.
		row.said["(and then the other of the two)"]++
		return
	}
	if len(ends) > 1 {
		b.problemf("%s: %s came to %d ends: %s", in.kind, in.name(), len(ends), strings.Join(words(ends), ", "))
	}
	for _, o := range ends {
		if !slices.Contains(r.ends, o.says()) && !(l.revoked[in.conn] && slices.Contains(r.ended, o.says())) {
			b.problemf("%s: %s came to this: %s; %s", in.kind, in.name(), o.says(), o.detail)
		}
	}
}

func words(ends []fact) (out []string) {
	for _, o := range ends {
		out = append(out, o.says()+" as "+o.id)
	}
	return out
}

// name says which input it is.
func (in input) name() string {
	name := in.id + " (" + in.key
	if in.stream != "" {
		name += fmt.Sprintf(", %s %d", in.stream, in.sequence)
	}
	if in.conn != "" {
		name += ", connection " + in.conn
	}
	return name + ")"
}

// unfinished counts inputs that nothing came of yet, other than timers'.
func (b *balance) unfinished() (n int) {
	for _, row := range b.lines {
		if row.kind != aTimerSync {
			n += row.missing + row.open
		}
	}
	return n
}

func (b *balance) String() string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "inputs\toutputs\tsilent\tdead letters\topen\tmissing\t\tkind\t") // a Builder takes everything
	total := ledgerLine{said: map[string]int{}}
	row := func(r ledgerLine, name string) {
		mark := "="
		if r.missing != 0 || r.inputs != r.outputs+r.silent+r.letters+r.open {
			mark = "≠"
		}
		_, _ = fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t%d\t%s\t\x1b%s\n", r.inputs, r.outputs, r.silent, r.letters, r.open, r.missing, mark, name)
	}
	for _, r := range b.lines {
		name := string(r.kind)
		if len(r.said) > 0 {
			var said []string
			for _, what := range slices.Sorted(maps.Keys(r.said)) {
				said = append(said, fmt.Sprintf("%d %s", r.said[what], what))
			}
			name += " → " + strings.Join(said, ", ")
		}
		row(r, name)
		total.inputs, total.outputs, total.silent = total.inputs+r.inputs, total.outputs+r.outputs, total.silent+r.silent
		total.letters, total.open, total.missing = total.letters+r.letters, total.open+r.open, total.missing+r.missing
	}
	row(total, "all")
	_ = w.Flush()
	return strings.ReplaceAll(out.String(), "\x1b", "  ")
}
