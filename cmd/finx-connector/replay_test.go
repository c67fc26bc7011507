package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/replay"
)

// withOutputs is a rig with n stored output events.
func withOutputs(t *testing.T, n int) *rig {
	t.Helper()
	r := applied(t)
	for i := range n {
		o := events.NewFetchFailed(events.Cause{ID: fmt.Sprint(i)}, events.FetchFailed{
			ConnectionID: events.UUIDv5("c", fmt.Sprint(i%3)), UserID: fmt.Sprint("user-", i%3), FetchID: fmt.Sprint(i), Reason: "test",
		})
		if _, err := r.js.PublishMsg(t.Context(), &nats.Msg{Subject: o.Type, Header: events.HeadersFor(o), Data: o.AppendJSON(nil)}); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *rig) target(t *testing.T, subject string) {
	t.Helper()
	if _, err := r.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "TARGET", Subjects: []string{subject}}); err != nil {
		t.Fatal(err)
	}
}

func TestReplayOutputs(t *testing.T) {
	r := withOutputs(t, 12)
	r.target(t, "replayed.here")
	before := r.states(t)
	r.run(t, "replay", "outputs", "--user", "user-1", "--since", "1h", "--to", "replayed.here").done(t).
		prints(t, "PLAN         OUTPUTS ", "messages     4", "connections  1", "time span    20", "bank calls   0 (none", "to           replayed.here (stream TARGET)",
			"FINX_EVENTS, sequences 1 to 12", "transactions.fetch.failed  4", "note: every body was read", "nothing was changed, --yes does it")
	plan := decodeJSON[replayed](t, r.run(t, "replay", "outputs", "--user", "user-1", "--since", "1h", "--to", "replayed.here", "-o", "json").done(t))
	if plan.Messages != 4 || plan.Connections != 1 || plan.BankCalls != 0 || plan.First == nil || plan.Result != nil || plan.Types[0].Messages != 4 {
		t.Errorf("%+v", plan)
	}
	if after := r.states(t); after != before {
		t.Errorf("the plans changed something:\n%s\n%s", before, after)
	}
	r.run(t, "replay", "outputs", "--user", "user-1", "--to", "replayed.here", "--yes", "--by", "jo", "--reason", "table lost").done(t).
		prints(t, "messages     4", "completed: 4 replayed, 0 were there already, 0 skipped, 0 failed", "recorded as replay.completed, stream FINX_EVENTS sequence 13")
	if n := r.count(t, "TARGET"); n != 4 {
		t.Errorf("%d in the target", n)
	}
	result := decodeJSON[replayed](t, r.run(t, "replay", "outputs", "--yes", "-o", "json").done(t))
	if result.Result == nil || result.Result.Replayed != 12 || result.Result.Outcome != replay.Completed {
		t.Errorf("%+v", result)
	}
	r.run(t, "replay", "outputs", "--resume", result.ReplayID).done(t).prints(t, "was completed at 20", "12 replayed", "nothing is left")
	r.run(t, "replay", "outputs", "--resume", result.ReplayID, "--yes").done(t).prints(t, "nothing is left")
	r.run(t, "replay", "inputs", "--resume", result.ReplayID).exits(t, exitUsage).complains(t, "is a replay of outputs: finx-connector replay outputs --resume "+result.ReplayID)
	r.run(t, "replay", "outputs", "--resume", connectionID).exits(t, exitFailed).complains(t, "no such replay")
	r.run(t, "replay", "outputs", "--user", "nobody", "--yes").done(t).prints(t, "nothing to replay; nothing was changed")
	r.run(t, "replay", "outputs", "--to", "nobody.listens").exits(t, exitFailed).complains(t, "no stream takes it")
}

// states is the content of all streams, counted.
func (r *rig) states(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	all := r.js.ListStreams(t.Context())
	for info := range all.Info() {
		fmt.Fprintln(&b, info.Config.Name, info.State.Msgs, info.State.Bytes, info.State.LastSeq, info.State.NumDeleted)
	}
	if all.Err() != nil {
		t.Fatal(all.Err())
	}
	return b.String()
}

func TestReplayWithoutTheSubjectOfItsRecord(t *testing.T) {
	r := withOutputs(t, 1)
	s, err := r.js.Stream(t.Context(), events.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	var without []string
	for _, subject := range cfg.Subjects {
		if !strings.HasPrefix(subject, "replay.") {
			without = append(without, subject)
		}
	}
	cfg.Subjects = without
	if _, err := r.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"outputs", "inputs", "refetch"} {
		r.run(t, "replay", mode, "--yes").exits(t, exitFailed).complains(t, "FINX_EVENTS does not take replay.completed", "streams apply")
	}
	if n := r.count(t, events.StreamEvents); n != 1 {
		t.Errorf("%d events", n)
	}
	r.run(t, "streams", "apply").done(t).prints(t, "replay.completed")
	r.run(t, "replay", "outputs", "--yes").done(t).prints(t, "1 replayed")
}

func TestReplayRefetch(t *testing.T) {
	r := applied(t)
	now := time.Now().UTC()
	rec := connection.New(connectionID, "bert", now)
	r.store(t, rec)
	r.run(t, "replay", "refetch", "--user", "bert", "--since", "2026-08-01", "--until", "2026-08-31").done(t).
		prints(t, "messages     0", "time span    2026-08-01 to 2026-08-31", "bank calls   0 (at least", "it is requested: only an established one can be fetched", connectionID, "nothing to replay")
	r.run(t, "replay", "refetch", "--connection", events.UUIDv5("x")).exits(t, exitFailed).complains(t, "there is no connection")
}

// A replay is safe to interrupt, by a signal, and says how to go on.
func TestReplayStopsAtASignalAndGoesOn(t *testing.T) {
	r := withOutputs(t, 40)
	p := r.process(t, "replay", "outputs", "--rate", "20", "--yes")
	natstest.Eventually(t, 30*time.Second, func() bool { return r.count(t, events.StreamEvents) >= 44 }, "some are replayed")
	p.signal(t, syscall.SIGINT)
	_ = p.wait(t)
	if code := p.ProcessState.ExitCode(); code != exitFailed {
		t.Fatalf("exit code %d: %s", code, p.stderr.String())
	}
	_, rest, found := strings.Cut(p.stderr.String(), "to go on: finx-connector ")
	command, _, _ := strings.Cut(rest, "\n")
	if !found || !strings.Contains(p.stdout.String(), "interrupted: ") || !strings.Contains(p.stderr.String(), "interrupted: ") {
		t.Fatalf("%s\n%s", p.stdout.String(), p.stderr.String())
	}
	args := strings.Fields(command)
	r.run(t, args[:len(args)-1]...).done(t).prints(t, "so far", "nothing was changed, --yes does it") // without --yes
	r.run(t, append(args, "--rate", "10000")...).done(t).prints(t, "completed: 40 replayed, 0 were there already")
	if n := r.count(t, events.StreamEvents); n != 82 { // and two records
		t.Errorf("%d events", n)
	}
}

// A killed replay is found to be dead, and what it sent is not sent again.
func TestReplayGoesOnAfterAKill(t *testing.T) {
	r := withOutputs(t, 60)
	p := r.process(t, "replay", "outputs", "--rate", "30", "--yes")
	natstest.Eventually(t, 30*time.Second, func() bool { return r.count(t, events.StreamEvents) >= 70 }, "some are replayed")
	p.signal(t, syscall.SIGKILL)
	_ = p.wait(t)
	replayID := replayIDOf(t, p.stdout.String())
	if replayID == "" {
		t.Fatal(p.stdout.String())
	}
	got := r.run(t, "replay", "outputs", "--resume", replayID, "--yes", "--rate", "10000").done(t).complains(t, "had it last")
	got.prints(t, "were in the stream already")
	if n := r.count(t, events.StreamEvents); n != 121 {
		t.Errorf("%d events, want 60 copies and one record: %s", n, got.stdout)
	}
}

func replayIDOf(t *testing.T, out string) string {
	t.Helper()
	head, _, _ := strings.Cut(out, "\n")
	fields := strings.Fields(head)
	if len(fields) == 0 || !events.IsUUID(fields[len(fields)-1]) {
		return ""
	}
	return fields[len(fields)-1]
}

func TestTheBar(t *testing.T) {
	if got := drawBar(500, 1000, 10*time.Second); got != "[###############...............] 500 of 1000, 50/s, about 10s to go" {
		t.Error(got)
	}
	if got := drawBar(0, 0, 0); !strings.HasPrefix(got, "[..............................] 0 of 1") {
		t.Error(got)
	}
	if isTerminal(&buffer{}) {
		t.Error("a buffer is no terminal")
	}
	if null, err := os.Open(os.DevNull); err != nil || !isTerminal(null) {
		t.Errorf("a character device is none: %v", err)
	}
	var out buffer
	b := &bar{p: &program{system: system{stderr: &out}}, live: true, total: 2, started: time.Now()}
	b.reached(replay.Progress{Done: 2, Total: 2})
	b.end()
	if !strings.HasPrefix(out.String(), "\r[####") || !strings.HasSuffix(out.String(), "\n") {
		t.Errorf("%q", out.String())
	}
}
