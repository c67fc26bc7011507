package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/finx-connector/finx-connector/replay"
)

// printPlan shows what is to be done, or is left to be done.
func (r *replayCommand) printPlan(job *replay.Job) error {
	p, w := job.Planned, r.p.stdout
	if job.State() == replay.Completed {
		fmt.Fprintf(w, "replay %s was completed at %s: %s; nothing is left\n", p.ReplayID, shown(job.Finished()), countsText(job.Counts()))
		return nil
	}
	t := newTable(w, "PLAN", strings.ToUpper(string(p.Mode))+" "+p.ReplayID)
	if job.State() != "" {
		t.row("so far", countsText(job.Counts()))
	}
	connections := fmt.Sprint(p.Connections)
	if p.ConnectionsAtLeast {
		connections = "more than " + connections
	}
	t.row("messages", fmt.Sprint(p.Messages))
	t.row("bytes", fmt.Sprint(p.Bytes))
	t.row("connections", connections)
	t.row("time span", timeSpan(p, job.Request()))
	t.row("bank calls", fmt.Sprintf("%d (%s)", p.BankCalls, p.BankCallsHow))
	t.row("takes about", short(time.Duration(float64(p.Messages)/r.rate*float64(time.Second)))+fmt.Sprintf(" at --rate %g", r.rate))
	if p.To != "" {
		t.row("to", fmt.Sprintf("%s (stream %s)", p.To, p.ToStream))
	}
	for _, s := range p.Streams {
		t.row("stream", streamText(s))
	}
	if p.ReferencesGone > 0 {
		t.row("references", fmt.Sprintf("%d to large objects that are not in the store any more", p.ReferencesGone))
	}
	if err := t.flush(); err != nil {
		return err
	}
	if err := printTypes(w, p); err != nil {
		return err
	}
	for _, note := range p.Notes {
		fmt.Fprintln(w, "note:", printable(note))
	}
	switch {
	case p.Messages == 0 && job.State() == "":
		fmt.Fprintln(w, "nothing to replay; nothing was changed")
	case !r.yes:
		fmt.Fprintln(w, "nothing was changed, --yes does it")
	}
	return nil
}

// mostNamed is how many of what is skipped are named in a table.
const mostNamed = 20

func printTypes(w io.Writer, p replay.Plan) error {
	fmt.Fprintln(w)
	t := newTable(w, "TYPE", "MESSAGES", "BYTES", "DONE ALREADY", "BANK CALLS")
	for _, c := range p.Types {
		done := ""
		if p.Mode == replay.Inputs {
			done = fmt.Sprint(c.Done)
		}
		t.row(c.Type, fmt.Sprint(c.Messages), fmt.Sprint(c.Bytes), done, fmt.Sprint(c.BankCalls))
	}
	if err := t.flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if len(p.Skipped) == 0 {
		return nil
	}
	t = newTable(w, "SKIPPED", "REASON", "SUCH AS")
	for _, s := range p.Skipped {
		for i, example := range s.Examples[:min(len(s.Examples), mostNamed)] {
			if i == 0 {
				t.row(fmt.Sprint(s.Count), s.Reason, example)
			} else {
				t.row(" ", " ", example)
			}
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	return nil
}

func (r *replayCommand) printResult(result replay.Result) {
	w := r.p.stdout
	fmt.Fprintf(w, "%s: %s, in %s\n", result.Outcome, countsText(result.Counts), short(result.FinishedAt.Sub(result.StartedAt)))
	if result.Duplicates > 0 {
		fmt.Fprintf(w, "%d were in the stream already: this replay had sent them before it was stopped\n", result.Duplicates)
	}
	if result.Gone > 0 {
		fmt.Fprintf(w, "%d of the %d planned were not in the stream any more\n", result.Gone, result.Matched)
	}
	if result.ReferencesGone > 0 {
		fmt.Fprintf(w, "%s to large objects that are not in the store any more\n", counted(result.ReferencesGone, "reference"))
	}
	if result.AuditSequence > 0 {
		fmt.Fprintf(w, "recorded as replay.completed, stream %s sequence %d\n", result.AuditStream, result.AuditSequence)
	}
}

func countsText(c replay.Counts) string {
	return fmt.Sprintf("%d replayed, %d were there already, %d skipped, %d failed", c.Replayed, c.Duplicates, c.Skipped, c.Failed)
}

// timeSpan is when the messages were stored, or the days that are to be fetched.
func timeSpan(p replay.Plan, req replay.Request) string {
	s := req.Selection
	switch {
	case p.Mode != replay.Refetch && p.First == nil:
		return ""
	case p.Mode != replay.Refetch:
		return shown(*p.First) + " to " + shown(*p.Last)
	case req.Full:
		return "the whole history of each account"
	case s.Since.IsZero():
		return "each account from where its last fetch ended, less the overlap"
	case s.Until.IsZero():
		return s.Since.UTC().Format(time.DateOnly) + " to the day of the fetch"
	}
	return s.Since.UTC().Format(time.DateOnly) + " to " + s.Until.UTC().Format(time.DateOnly)
}

func streamText(s replay.Span) string {
	from := max(s.From, s.Done+1)
	if from > s.To {
		return s.Stream + ", nothing"
	}
	return fmt.Sprintf("%s, sequences %d to %d", s.Stream, from, s.To)
}

// bar shows how far a replay is: a bar on a terminal, elsewhere a line from time
// to time.
type bar struct {
	p       *program
	lines   *progress
	live    bool
	total   int
	started time.Time
	drawn   time.Time
}

// redraw is how often a bar is drawn.
const redraw = 100 * time.Millisecond

func (p *program) bar(total int) *bar {
	return &bar{p: p, lines: p.progress(progressEvery, total), live: isTerminal(p.stderr), total: total, started: time.Now()}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (b *bar) reached(p replay.Progress) {
	if !b.live {
		b.lines.reached(p.Done, countsText(p.Counts))
		return
	}
	if now := time.Now(); now.Sub(b.drawn) >= redraw || p.Done == b.total {
		b.drawn = now
		fmt.Fprint(b.p.stderr, "\r"+drawBar(p.Done, b.total, now.Sub(b.started))+"\x1b[K")
	}
}

func (b *bar) end() {
	if b.live && !b.drawn.IsZero() {
		fmt.Fprintln(b.p.stderr)
	}
}

// barWidth is how many characters a bar has.
const barWidth = 30

func drawBar(done, total int, took time.Duration) string {
	total = max(total, done, 1)
	full := barWidth * done / total
	left := time.Duration(float64(took) / float64(max(done, 1)) * float64(total-done))
	return fmt.Sprintf("[%s%s] %d of %d, %.0f/s, about %s to go",
		strings.Repeat("#", full), strings.Repeat(".", barWidth-full), done, total, float64(done)/max(took.Seconds(), 0.001), short(left))
}
