package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// letterDetails is everything that may be shown of one dead letter.
type letterDetails struct {
	letterView
	MsgID    string              `json:"original_msg_id,omitempty"`
	Stored   *time.Time          `json:"original_stored_at,omitempty"`
	Bytes    int                 `json:"bytes"`
	Withheld bool                `json:"withheld,omitempty"`
	Headers  map[string][]string `json:"headers"`
	Body     *string             `json:"body,omitempty"`
}

func (p *program) dlqShowCommand() *cobra.Command {
	var (
		out  format
		body bool
		seq  []uint64
	)
	c := p.withBroker(&cobra.Command{
		Use:   "show SEQ",
		Short: "Show one dead letter: why, where the original is, its headers",
		Long: `show tells why an event was given up and where its original is. The body, and headers that no
protocol defines, may hold personal data: they are printed with --body only. Authorization
codes, tokens and other secrets are not printed either way.`,
		Example: `  finx-connector dlq show 17
  finx-connector dlq show 17 --body -o json`,
		Args:    cobra.ExactArgs(1),
		PreRunE: func(_ *cobra.Command, args []string) (err error) { seq, err = sequences(args); return err },
	}, func(ctx context.Context, b *broker, _ []string) error {
		q, err := b.letters()
		if err != nil {
			return err
		}
		l, err := q.Get(ctx, seq[0])
		if err != nil {
			return err
		}
		d := detailsOfLetter(l, body)
		if out.json() {
			return writeJSON(p.stdout, d)
		}
		return d.print(p.stdout)
	})
	c.Flags().BoolVar(&body, "body", false, "print the body as well; it may hold personal data")
	out.flag(c)
	return c
}

func (d letterDetails) print(w io.Writer) error {
	t := newTable(w, "DEAD LETTER", fmt.Sprint(d.Sequence))
	for _, f := range []struct{ name, value string }{
		{"given up", shown(d.Time) + ", " + short(time.Duration(d.Age)*time.Second) + " ago"},
		{"class", string(d.Class)},
		{"error", d.Error},
		{"attempts", fmt.Sprint(d.Attempts)},
		{"consumer", d.Consumer},
		{"original subject", d.Subject},
		{"original", fmt.Sprintf("stream %s, sequence %d", d.Stream, d.Original)},
		{"original stored", d.storedText()},
		{"original Nats-Msg-Id", d.MsgID},
		{"body", d.bodyText()},
	} {
		if f.value != "" {
			t.row(f.name, f.value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
		for _, value := range d.Headers[name] {
			t.row("header "+name, value)
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	if d.Body != nil {
		lines := strings.Split(*d.Body, "\n")
		for i, line := range lines {
			lines[i] = printable(strings.ReplaceAll(line, "\t", "    "))
		}
		fmt.Fprintf(w, "\n%s\n", strings.Join(lines, "\n"))
	}
	return nil
}

func (d letterDetails) storedText() string {
	if d.Stored == nil {
		return ""
	}
	return shown(*d.Stored) + ", " + age(time.Now(), *d.Stored) + " ago"
}

func (d letterDetails) bodyText() string {
	switch {
	case d.Withheld:
		return fmt.Sprintf("%d bytes, a note: the body itself was withheld", d.Bytes)
	case d.Body != nil:
		return fmt.Sprintf("%d bytes, below", d.Bytes)
	}
	return fmt.Sprintf("%d bytes, --body prints it", d.Bytes)
}
