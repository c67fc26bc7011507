package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/dlq"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

func TestDeadLettersAreSummarized(t *testing.T) {
	empty := applied(t)
	empty.run(t, "dlq", "list", "--summary").done(t).prints(t, "CLASS", "OLDEST", "0 dead letters")
	r := withLetters(t)
	old := nats.Header{
		consumer.HeaderReason: {"outage"}, consumer.HeaderSubject: {"user.connect.requested.eu"}, consumer.HeaderStream: {events.StreamRequests},
		consumer.HeaderSequence: {"1"}, consumer.HeaderTime: {time.Now().Add(-75 * time.Hour).UTC().Format(time.RFC3339)},
	}
	if _, err := r.js.PublishMsg(t.Context(), &nats.Msg{Subject: "dlq.user.connect.requested.eu", Header: old}); err != nil {
		t.Fatal(err)
	}
	r.run(t, "dlq", "list", "--summary").done(t).prints(t, "outage         user.connect.requested  3      3d", "unknown_state  callback.received       1 ", "4 dead letters, the oldest of ")
	all := decodeJSON[[]letterGroup](t, r.run(t, "dlq", "list", "--summary", "--class", "outage", "-o", "json").done(t))
	if len(all) != 1 || all[0].Count != 3 || all[0].Event != "user.connect.requested" || !all[0].Oldest.Before(all[0].Newest) {
		t.Errorf("%+v", all)
	}
	r.run(t, "dlq", "list").done(t).prints(t, "AGE", "3d   ")
}

// What operators must not see, and whoever reads over their shoulder.
func TestShowKeepsSecretsAndPersonalData(t *testing.T) {
	r := applied(t)
	m := &nats.Msg{Subject: "callback.received", Header: nats.Header{
		"X-User-Mail": {"canary-mail"}, "Authorization": {"Bearer canary-bearer"}, "X-Api-Key": {"canary-apikey"}, "X-Code": {canaryCode},
		"traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, events.HeaderMsgID: {"m-" + canaryCode},
	}, Data: []byte(`{"state":"s","success":true,"code":"` + canaryCode + `","name":"canary-name","access_token":"canary-access","nested":{"Refresh-Token":"canary\"-refresh"},
		"text":"refresh_token=canary-form&x=1","log":"{\"client_secret\":\"canary-inner\"}","jwt":"eyJcanary.eyJcanary.canary"}`)}
	if _, err := r.js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	r.giveUp(t, 1, nil, fault.Permanent(fault.Rejected, errors.New("finx: 400: token=canary-quoted "+canaryCode)))
	r.run(t, "dlq", "show", "1").done(t).hides(t, "canary").prints(t, "X-User-Mail", hiddenText, "00-0af7651916cd43dd8448eb211c80319c", "original stored")
	for _, format := range []string{"table", "json"} {
		r.run(t, "dlq", "show", "1", "--body", "-o", format).done(t).prints(t, "canary-mail", "canary-name").
			hides(t, canaryCode, "canary-bearer", "canary-apikey", "canary-access", "-refresh", "canary-form", "canary-inner", "eyJcanary", "canary-quoted")
	}
	for _, args := range []string{"list", "list -o json", "list --summary", "redrive --all", "redrive --all -o json", "discard --all --reason x", "discard --all --reason x -o json"} {
		r.run(t, append([]string{"dlq"}, strings.Fields(args)...)...).done(t).hides(t, canaryCode, "canary-mail", "canary-name", "canary-access")
	}
}

func TestACallbackIsFoundByItsConnection(t *testing.T) {
	r := withLetters(t)
	s := r.store(t, connection.New(connectionID, "bert", time.Now()))
	for state, id := range map[string]string{"s": connectionID, "other": "gone"} {
		if err := s.BindState(t.Context(), state, id); err != nil {
			t.Fatal(err)
		}
	}
	r.input(t, canaryCode, "emit", "callback", "--state", "other", "--code-file", "-").done(t)
	r.giveUp(t, 4, nil, fault.Permanent(fault.Rejected, errors.New("state: consumed")))
	for args, want := range map[string][]uint64{"--connection " + connectionID: {3}, "--user bert": {3}, "--connection gone": {4}, "--user nobody": {}} {
		if got := r.listed(t, strings.Fields(args)...); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", args, got, want)
		}
	}
}

func TestWhatOperatorsDidIsKept(t *testing.T) {
	r := withLetters(t)
	r.run(t, "dlq", "log").done(t).prints(t, "AT", "REASON")
	r.run(t, "dlq", "redrive", "--class", "outage").done(t)
	r.run(t, "dlq", "discard", "3", "--reason", "plan only").done(t)
	if notes := decodeJSON[[]dlq.Note](t, r.run(t, "dlq", "log", "-o", "json").done(t)); len(notes) != 0 {
		t.Fatalf("a plan leaves a note: %+v", notes)
	}
	r.run(t, "dlq", "redrive", "--class", "outage", "--user", "user-1", "--reason", "finX is back", "--yes").done(t)
	r.run(t, "dlq", "discard", "--all", "--reason", "load test", "--yes").done(t).prints(t, "discarded 1", "discarded 3", "2 of 2 dealt with")
	r.run(t, "dlq", "log").done(t).prints(t, "discard  2     0     --all", "load test", "redrive  1     0     --class outage --user …", "finX is back").hides(t, "user-1")
	notes := decodeJSON[[]dlq.Note](t, r.run(t, "dlq", "log", "-o", "json").done(t))
	if len(notes) != 2 || notes[0].Action != dlq.ActionDiscard || len(notes[0].Letters) != 2 || notes[0].FinishedAt.IsZero() || notes[0].By != operator() || notes[1].Letters[0].Sequence != 2 {
		t.Errorf("%+v", notes)
	}
}

func TestWithoutANoteNothingIsDiscarded(t *testing.T) {
	r := withLetters(t)
	if err := r.js.DeleteKeyValue(t.Context(), dlq.DefaultControl); err != nil {
		t.Fatal(err)
	}
	r.run(t, "dlq", "discard", "1", "--reason", "x", "--yes", "--timeout", "2s").exits(t, exitFailed).complains(t, "nothing was discarded: ", "$KV.finx_control.dlq.>")
	if got := r.listed(t); len(got) != 3 {
		t.Fatalf("left: %v", got)
	}
	// An event that waits to be redriven does not wait for the note.
	r.run(t, "dlq", "redrive", "1", "--yes", "--timeout", "2s").done(t).complains(t, "no note is kept of this run").prints(t, "redriven 1")
}

func TestAnInterruptedRunSaysWhatWasDone(t *testing.T) {
	r := applied(t)
	for i := range 20 {
		r.run(t, "emit", "connect", "--user-id", fmt.Sprint("user-", i), "--redirect-uri", "https://app.example/cb").done(t)
	}
	r.giveUp(t, 20, fault.Permanent(fault.Outage, errors.New("503")), nil)
	b, err := dialRig(t, r)
	if err != nil {
		t.Fatal(err)
	}
	q, err := b.letters()
	if err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	var out, progress buffer
	job := &redriveJob{queue: q, run: "run-1", tell: time.Nanosecond, redriveCommand: &redriveCommand{
		p: &program{system: system{stdout: &out, stderr: &progress}}, chosen: letterSelection{all: true, text: "--all"}, yes: true, rate: 1000,
	}}
	seqs, err := job.plan(ctx, func(redriven) {})
	if err != nil || len(seqs) != 20 {
		t.Fatal(seqs, err)
	}
	done := 0
	err = job.do(ctx, seqs, func(one redriven) error {
		if done++; done == 7 {
			interrupt()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || job.count.redriven != 7 || r.count(t, events.StreamDLQ) != 13 {
		t.Errorf("%v, %+v, %d left", err, job.count, r.count(t, events.StreamDLQ))
	}
	if !strings.Contains(progress.String(), "6 of 20 (6 redriven, 0 left), about ") {
		t.Errorf("progress: %s", progress.String())
	}
	notes, _, err := q.Notes(t.Context())
	if err != nil || len(notes) != 1 || notes[0].Done != 7 || notes[0].Left != 13 || notes[0].FinishedAt.IsZero() {
		t.Errorf("%+v, %v", notes, err)
	}
	// The same again does the rest.
	r.run(t, "dlq", "redrive", "--all", "--yes", "--rate", "1000").done(t).prints(t, "13 dead letters: 13 to redrive", "13 redriven, 0 left")
}

func TestALongPlanIsCutShort(t *testing.T) {
	r := applied(t)
	const all = mostPlanned + 12
	for i := range all {
		header := nats.Header{consumer.HeaderReason: {"malformed"}, consumer.HeaderSubject: {"user.connect.requested"}, consumer.HeaderStream: {"GONE"}, consumer.HeaderSequence: {fmt.Sprint(i)}}
		if _, err := r.js.PublishMsg(t.Context(), &nats.Msg{Subject: "dlq.user.connect.requested", Header: header, Data: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
	}
	out := r.run(t, "dlq", "redrive", "--all").done(t).prints(t, "… and 12 more; -o json shows all", "malformed  user.connect.requested  62     62", "62 dead letters: 0 to redrive, 62 refused; nothing")
	if n := strings.Count(out.stdout, "\n"); n > mostPlanned+8 {
		t.Errorf("%d lines", n)
	}
	if plan := decodeJSON[[]redriven](t, r.run(t, "dlq", "redrive", "--all", "-o", "json").done(t)); len(plan) != all {
		t.Errorf("%d planned", len(plan))
	}
	r.run(t, "dlq", "discard", "--class", "malformed", "--reason", "x").done(t).prints(t, "… and 12 more", "62 dead letters; nothing was changed")
	r.run(t, "dlq", "discard", "--class", "outage", "--reason", "x", "--yes").done(t).prints(t, "no dead letter matches")
}
