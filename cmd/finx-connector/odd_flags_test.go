package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// A variable that is not set, in a script, must not turn the replay of one user
// into that of everybody.
func TestAChoiceWithoutAValueIsWrongUsage(t *testing.T) {
	r := withOutputs(t, 3)
	before := r.states(t)
	for _, args := range [][]string{
		{"replay", "outputs", "--user", ""},
		{"replay", "outputs", "--connection="},
		{"replay", "outputs", "--subject", ""},
		{"replay", "outputs", "--to", ""},
		{"replay", "outputs", "--since", ""},
		{"replay", "inputs", "--until", ""},
		{"replay", "outputs", "--resume", ""},
		{"replay", "refetch", "--user", ""},
		{"dlq", "redrive", "--class", "outage", "--user", ""},
		{"dlq", "discard", "--reason", "x", "--until", "1h", "--connection", ""},
	} {
		r.run(t, append(args, "--yes")...).exits(t, exitUsage).complains(t, "is empty: leave it out, or say which")
	}
	if after := r.states(t); after != before {
		t.Errorf("something was changed:\n%s\n%s", before, after)
	}
}

// A rate beyond what a duration holds is none at all, or a panic.
func TestRatesThatNoClockKeepsAreWrongUsage(t *testing.T) {
	r := applied(t)
	for _, rate := range []string{"0", "-1", "1e-10", "1e-300", "1e7", "NaN", "Inf"} {
		r.run(t, "replay", "outputs", "--rate", rate).exits(t, exitUsage).complains(t, "--rate must be above 0")
		r.run(t, "dlq", "redrive", "--all", "--yes", "--rate", rate).exits(t, exitUsage).complains(t, "--rate must be above 0")
	}
}

func TestAWindowThatHoldsNothingIsWrongUsage(t *testing.T) {
	r := applied(t)
	tomorrow := time.Now().UTC().Add(26 * time.Hour).Format(time.DateOnly)
	r.run(t, "replay", "refetch", "--since", tomorrow).exits(t, exitUsage).complains(t, "--since is in the future")
	r.run(t, "replay", "refetch", "--since", "0001-01-01").exits(t, exitUsage).complains(t, "--since must be")
	r.run(t, "dlq", "list", "--since", "0001-01-01T00:00:00Z").exits(t, exitUsage).complains(t, "--since must be")
}

// Whoever may write to a bucket names its keys; an error that quotes one must not
// reach the terminal as it is.
func TestErrorsCannotSteerATerminal(t *testing.T) {
	r := applied(t)
	if _, err := r.js.PublishMsg(t.Context(), &nats.Msg{Subject: "$KV.finx_connections.connection.\x1b[31mred", Data: []byte("{")}); err != nil {
		t.Fatal(err)
	}
	r.run(t, "connections", "list").exits(t, exitFailed).complains(t, `1 left out, the first is \x1b[31mred`).hides(t, "\x1b")
	r.run(t, "replay", "refetch").done(t).prints(t, `the first is \x1b[31mred`).hides(t, "\x1b")
	r.run(t, "replay", "outputs", "--to", "x\u202ey").exits(t, exitFailed).complains(t, `x\u202ey`).hides(t, "\u202e")
}

// An interruption says what was redriven and leaves the rest: nothing twice, nothing
// lost.
func TestRedrivingManyIsInterrupted(t *testing.T) {
	r := applied(t)
	const n = 400
	for i := range n {
		header := nats.Header{
			"Dlq-Reason": {"outage"}, "Dlq-Stream": {"FINX_REQUESTS"}, "Dlq-Sequence": {fmt.Sprint(i + 1)},
			"Dlq-Subject": {"transactions.sync.requested"}, "Dlq-Msg-Id": {fmt.Sprint("upstream-", i)}, "Dlq-Original-Time": {"2026-11-01T00:00:00Z"},
		}
		m := &nats.Msg{Subject: "dlq.transactions.sync.requested", Header: header, Data: []byte(`{"connection_id":"` + connectionID + `"}`)}
		if _, err := r.js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 4 {
		ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
		args := []string{"dlq", "redrive", "--all", "--yes", "--rate", "100000"}
		if round%2 == 1 {
			args = append(args, "-o", "json")
		}
		got := r.runContext(ctx, "", args...)
		stop()
		if round%2 == 1 {
			decodeJSON[[]redriven](t, got)
		}
		// A letter may be left whose event is stored only when the broker did not answer.
		if stored, left := r.count(t, "FINX_REQUESTS"), r.count(t, "FINX_DLQ"); stored+left != n {
			t.Errorf("round %d: %d stored and %d left of %d:\n%s", round, stored, left, n, got.stderr)
		}
	}
	r.run(t, "dlq", "redrive", "--all", "--yes", "--rate", "100000")
	if stored := r.count(t, "FINX_REQUESTS"); stored != n || r.count(t, "FINX_DLQ") != 0 {
		t.Errorf("%d stored", stored)
	}
	if log := r.run(t, "dlq", "log").done(t).stdout; strings.Contains(log, "under way") {
		t.Errorf("a run is not ended in its note:\n%s", log)
	}
}

// A dead letter of another program, or of an older one, may say in its error or its
// subject what it must not: no command prints it.
func TestLettersOfOthersTellNoSecret(t *testing.T) {
	r := applied(t)
	m := &nats.Msg{Subject: "dlq.callback.received", Data: []byte(`{"state":"s","success":true,"code":"canary-code-1"}`), Header: nats.Header{
		"Dlq-Reason": {"rejected"}, "Dlq-Stream": {"FINX_CALLBACKS"}, "Dlq-Sequence": {"1"}, "Dlq-Subject": {"callback.received.canary-code-1"},
		"Dlq-Error": {"exchanging canary-code-1: Authorization: Bearer canary-token-2"},
	}}
	if _, err := r.js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"list"},
		{"list", "-o", "json"},
		{"list", "--summary"},
		{"show", "1"},
		{"show", "1", "--body"},
		{"redrive", "--all"},
		{"redrive", "--all", "-o", "json"},
		{"discard", "1", "--reason", "x"},
		{"discard", "1", "--reason", "x", "-o", "json"},
		{"redrive", "1", "--yes"},
		{"discard", "1", "--reason", "x", "--yes"},
		{"log"},
	} {
		r.run(t, append([]string{"dlq"}, args...)...).hides(t, "canary")
	}
}
