package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// replayPlan is what `finx-connector replay … -o json` prints, as far as it is
// looked at here.
type replayPlan struct {
	ReplayID    string `json:"replay_id"`
	Messages    int    `json:"messages"`
	Bytes       int    `json:"bytes"`
	Connections int    `json:"connections"`
	BankCalls   int    `json:"bank_calls"`
	Skipped     []struct {
		Reason string `json:"reason"`
		Count  int    `json:"count"`
	} `json:"skipped"`
	Result struct {
		Outcome    string `json:"outcome"`
		Replayed   int    `json:"replayed"`
		Duplicates int    `json:"duplicates"`
		Skipped    int    `json:"skipped"`
		Failed     int    `json:"failed"`
	} `json:"result"`
}

// replayCommand runs the real program to its end.
func (r *rig) replayCommand(args ...string) replayPlan {
	r.t.Helper()
	p := r.run("finx-connector", append(append([]string{"replay"}, args...), "-o", "json")...)
	if code := p.wait(2 * time.Minute); code != 0 {
		r.t.Fatalf("replay %v exits with %d:\n%s", args, code, p.out.String())
	}
	out := p.out.String()
	var plan replayPlan
	if from := strings.IndexByte(out, '{'); from < 0 || json.Unmarshal([]byte(out[from:]), &plan) != nil {
		r.t.Fatalf("replay %v prints no JSON:\n%s", args, out)
	}
	return plan
}

// bankCalls is how many calls of finX were answered.
func (r *rig) bankCalls() int {
	n := 0
	for _, byStatus := range r.sandbox.Stats().Calls {
		for _, count := range byStatus {
			n += count
		}
	}
	return n
}

// TestADayReplayedByCommand plays a day with everything that happens to
// callbacks, and has an operator replay it in all three modes, with a kill in the
// middle.
func TestADayReplayedByCommand(t *testing.T) {
	d := aDay(t, finxtest.Shape{Accounts: 2, Transactions: 3})
	t.Run("outputs", func(*testing.T) { d.replayOutputs() })
	t.Run("inputs", func(*testing.T) { d.replayInputs() })
	t.Run("inputs, killed", func(*testing.T) { d.replayKilled() })
	t.Run("refetch", func(*testing.T) { d.replayRefetch() })
}

// replayOutputs gives a second reader the whole day, and asks no bank.
func (d *day) replayOutputs() {
	d.t.Helper()
	told := d.seen.of("transactions.fetched", "")
	all := 0
	for _, m := range d.seen.messages() {
		if m.Stream == events.StreamEvents {
			all++
		}
	}
	if _, err := d.js.CreateStream(d.t.Context(), jetstream.StreamConfig{Name: "SECOND_READER", Subjects: []string{"second.reader"}}); err != nil {
		d.t.Fatal(err)
	}
	calls := d.bankCalls()
	plan := d.replayCommand("outputs", "--since", "24h", "--to", "second.reader")
	if plan.Messages != all || plan.BankCalls != 0 || plan.Result.Outcome != "" {
		d.t.Errorf("the plan has %d of %d events and %d calls", plan.Messages, all, plan.BankCalls)
	}
	done := d.replayCommand("outputs", "--since", "24h", "--to", "second.reader", "--yes", "--rate", "5000")
	if done.Result.Replayed != all || done.Result.Outcome != "completed" || d.bankCalls() != calls {
		d.t.Errorf("%+v, %d calls", done.Result, d.bankCalls()-calls)
	}
	copies := map[string][]byte{}
	reader, err := d.js.Stream(d.t.Context(), "SECOND_READER")
	if err != nil {
		d.t.Fatal(err)
	}
	for seq := uint64(1); seq <= uint64(all); seq++ {
		m, err := reader.GetMsg(d.t.Context(), seq)
		if err != nil {
			d.t.Fatal(err)
		}
		o, err := events.ParseOutput(events.Message{Data: m.Data})
		if err != nil || o.ReplayID != done.ReplayID {
			d.t.Fatalf("copy %d: %v, replay %q", seq, err, o.ReplayID)
		}
		copies[o.ID] = o.Data
	}
	for _, e := range told {
		if !bytes.Equal(copies[e.ID], e.Data) {
			d.t.Errorf("the copy of %s is another: %s", e.ID, copies[e.ID])
		}
	}
	d.t.Logf("%d events, %d bytes replayed, no bank call", all, plan.Bytes)
}

// replayInputs has every stored input of the day handled again. Nothing may come
// of it: no call, no dead letter, no news, no change.
func (d *day) replayInputs() {
	d.t.Helper()
	d.settled()
	before, calls, links := d.books(), d.bankCalls(), d.sandbox.Stats().LinksCreated
	plan := d.replayCommand("inputs", "--since", "24h")
	if plan.BankCalls != 0 {
		d.t.Errorf("the plan announces %d bank calls", plan.BankCalls)
	}
	done := d.replayCommand("inputs", "--since", "24h", "--yes", "--rate", "5000")
	if done.Result.Replayed != plan.Messages || done.Result.Failed != 0 {
		d.t.Errorf("%+v, planned %d", done.Result, plan.Messages)
	}
	d.unchanged("after the command", before, calls, links)
	d.t.Logf("%d inputs replayed, left out: %+v", done.Result.Replayed, done.Skipped)
}

// unchanged waits until everything is handled and compares the books.
func (d *day) unchanged(when string, before books, calls, links int) {
	d.t.Helper()
	d.rig.settled()
	d.settled()
	after := d.books()
	if d.bankCalls() != calls || d.sandbox.Stats().LinksCreated != links || after.exchanges != before.exchanges || after.reused != before.reused {
		d.t.Errorf("%s: %d bank calls, %d of them links, %d codes", when, d.bankCalls()-calls, d.sandbox.Stats().LinksCreated-links, after.exchanges-before.exchanges)
	}
	for name, was := range before.records {
		if is := after.records[name]; is != was {
			d.t.Errorf("%s: the record %s is another: %s", when, name, difference(was, is))
		}
	}
	for id, was := range before.secrets {
		if is := after.secrets[id]; is != was {
			d.t.Errorf("%s: the secret of %s was written: version %s, was %s", when, id, is, was)
		}
	}
	for id, what := range after.told {
		subject, _, _ := strings.Cut(what, " ")
		// A timer that is set again replaces itself.
		expected := strings.HasPrefix(id, "replay:") || subject == events.TypeReplayCompleted || strings.HasPrefix(subject, events.SubjectTimer)
		if before.told[id] == "" && !expected {
			d.t.Errorf("%s: news under an id that was not there: %s", when, what)
		}
	}
	if after.letters != before.letters {
		d.t.Errorf("%s: %d new dead letters", when, after.letters-before.letters)
	}
}

// replayKilled kills a replay of the inputs in the middle and resumes it.
func (d *day) replayKilled() {
	d.t.Helper()
	before, calls, links := d.books(), d.bankCalls(), d.sandbox.Stats().LinksCreated
	sent := func() int {
		n := 0
		for _, m := range d.seen.messages() {
			if m.Stream == events.StreamRequests && strings.HasPrefix(header(m, events.HeaderMsgID), "replay:") {
				n++
			}
		}
		return n
	}
	earlier := sent()
	all := d.replayCommand("inputs", "--subject", events.TypeConnectRequested).Messages
	p := d.run("finx-connector", "replay", "inputs", "--subject", events.TypeConnectRequested, "--rate", "40", "--yes")
	natstest.Eventually(d.t, within, func() bool { return sent() >= earlier+30 }, "some are replayed")
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		d.t.Fatal(err)
	}
	p.wait(within)
	head, _, _ := strings.Cut(p.out.String(), "\n")
	fields := strings.Fields(head)
	replayID := fields[len(fields)-1]
	done := d.replayCommand("inputs", "--resume", replayID, "--yes", "--rate", "5000")
	if done.Result.Outcome != "completed" || done.Result.Replayed+done.Result.Duplicates != all || done.Result.Duplicates == 0 {
		d.t.Errorf("%+v, of %d connects", done.Result, all)
	}
	d.unchanged("after the kill", before, calls, links)
	ids := map[string]int{}
	for _, m := range d.seen.messages() {
		if id := header(m, events.HeaderMsgID); strings.HasPrefix(id, "replay:"+replayID+":") {
			ids[id]++
		}
	}
	if len(ids) != all {
		d.t.Errorf("%d of %d connects were replayed", len(ids), all)
	}
	for id, n := range ids {
		if n > 1 {
			d.t.Errorf("%s was stored %d times", id, n)
		}
	}
	d.t.Logf("killed: %d were in the stream already, %d replayed in all", done.Result.Duplicates, done.Result.Replayed)
}

// replayRefetch asks the banks of one user again, and of nobody else.
func (d *day) replayRefetch() {
	d.t.Helper()
	g := d.guests["plain"][0]
	since, until := time.Now().UTC().AddDate(0, -2, 0), time.Now().UTC().AddDate(0, -1, 0)
	args := []string{"refetch", "--user", g.user, "--since", since.Format(time.DateOnly), "--until", until.Format(time.DateOnly)}
	calls := d.bankCalls()
	plan := d.replayCommand(args...)
	if plan.Messages != 1 || plan.BankCalls != 3 || d.bankCalls() != calls { // two accounts
		d.t.Errorf("%+v", plan)
	}
	record := d.books().records["connection."+g.link.ConnectionID]
	done := d.replayCommand(append(args, "--yes", "--reason", "support case")...)
	whole := d.event("refetch", func(e event) bool { return e.Type == events.TypeFetchCompleted && e.ReplayID == done.ReplayID })
	if whole.Trigger != events.TriggerReplay || whole.ConnectionID != g.link.ConnectionID {
		d.t.Errorf("%+v", whole.payload)
	}
	parts := d.parts(whole)
	if len(parts) != 2 {
		d.t.Errorf("%d parts", len(parts))
	}
	for _, part := range parts {
		want := events.Window{Since: since.Format(time.DateOnly), Until: until.Format(time.DateOnly)}
		if part.Window != want || part.Trigger != events.TriggerReplay || part.ReplayID != done.ReplayID {
			d.t.Errorf("window %+v, trigger %s, replay %q", part.Window, part.Trigger, part.ReplayID)
		}
	}
	d.rig.settled()
	if made := d.bankCalls() - calls; made != plan.BankCalls {
		d.t.Errorf("%d calls were made, the plan said %d", made, plan.BankCalls)
	}
	// The days since are still to be fetched: the marks stay where they were.
	if is := d.books().records["connection."+g.link.ConnectionID]; accountsOf(d.t, is) != accountsOf(d.t, record) {
		d.t.Errorf("the marks moved: %s, were %s", accountsOf(d.t, is), accountsOf(d.t, record))
	}
}

// accountsOf is where each account of a record is to be read from.
func accountsOf(t testing.TB, record string) string {
	t.Helper()
	var rec struct {
		Accounts map[string]struct {
			Until       string `json:"until"`
			SucceededAt string `json:"succeeded_at"`
		} `json:"accounts"`
	}
	if err := json.Unmarshal([]byte(record), &rec); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(rec.Accounts)
}
