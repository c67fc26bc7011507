package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/settings"
)

// giveUp runs the real consumer until there are n dead letters; every event
// gets the verdict of its lane.
func (r *rig) giveUp(t *testing.T, n uint64, connects, callbacks error) {
	t.Helper()
	lane := func(name, stream, durable string, err error) consumer.Lane {
		return consumer.Lane{
			Name: name, Stream: stream, Durable: durable, Slots: 1, Deadline: time.Minute, MaxAttempts: 1,
			Handle: func(context.Context, consumer.Delivery) error { return err },
		}
	}
	lanes := []consumer.Lane{
		lane("connects", events.StreamRequests, "finx-connects", connects),
		lane("callbacks", events.StreamCallbacks, "finx-callbacks", callbacks),
	}
	lanes[1].Redact = events.RedactCallback
	c, err := consumer.New(consumer.Config{JS: r.js, Lanes: lanes, DLQStream: events.StreamDLQ})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	natstest.Eventually(t, 30*time.Second, func() bool { return r.count(t, events.StreamDLQ) >= n }, "dead letters are there")
	stop()
	<-ended
}

// withLetters is a rig with three dead letters: 1 and 2 of connects in that
// order, 3 of a callback with the canary code.
func withLetters(t *testing.T) *rig {
	t.Helper()
	r := applied(t)
	outage := fault.Permanent(fault.Outage, errors.New("finx: creating a link: 503"))
	for i := range 2 {
		r.run(t, "emit", "connect", "--user-id", fmt.Sprint("user-", i), "--redirect-uri", "https://app.example/cb", "--id", fmt.Sprint("connect-", i)).done(t)
	}
	r.giveUp(t, 2, outage, nil)
	r.input(t, canaryCode, "emit", "callback", "--state", "s", "--code-file", "-", "--id", "callback-0").done(t)
	r.giveUp(t, 3, nil, fault.Permanent(fault.UnknownState, errors.New("state: nobody's")))
	return r
}

func (r *rig) listed(t *testing.T, args ...string) []uint64 {
	t.Helper()
	seqs := []uint64{}
	for _, v := range decodeJSON[[]letterView](t, r.run(t, append([]string{"dlq", "list", "-o", "json"}, args...)...).done(t).hides(t, canaryCode, "user-0")) {
		seqs = append(seqs, v.Sequence)
	}
	return seqs
}

func TestDeadLettersAreListed(t *testing.T) {
	empty := applied(t)
	empty.run(t, "dlq", "list").done(t).prints(t, "SEQ", "CLASS")
	if got := empty.listed(t); len(got) != 0 {
		t.Errorf("%v", got)
	}
	r := withLetters(t)
	r.run(t, "dlq", "list").done(t).prints(t, "outage", "unknown_state", "callback.received", "finx: creating a link: 503").hides(t, canaryCode, "user-0")
	for _, tc := range []struct {
		args string
		want []uint64
	}{
		{"", []uint64{1, 2, 3}},
		{"--class outage", []uint64{1, 2}},
		{"--class malformed", []uint64{}},
		{"--subject callback.received", []uint64{3}},
		{"--since 1h --subject user.connect.requested", []uint64{1, 2}},
		{"--since 2999-01-01T00:00:00Z", []uint64{}},
		{"--limit 1", []uint64{3}},
		{"--limit 2", []uint64{2, 3}},
		{"--until 1h", []uint64{}},
		{"--since 1h --until 2999-01-01T00:00:00Z", []uint64{1, 2, 3}},
		{"--stream FINX_CALLBACKS", []uint64{3}},
		{"--user user-1", []uint64{2}},
		{"--connection " + events.ConnectionID(events.Envelope{ID: "connect-1", Source: events.Source}), []uint64{2}},
	} {
		if got := r.listed(t, strings.Fields(tc.args)...); !slices.Equal(got, tc.want) {
			t.Errorf("%q: %v, want %v", tc.args, got, tc.want)
		}
	}
	r.run(t, "dlq", "list", "--limit", "1").done(t).complains(t, "the newest 1 of 3 shown")
}

func TestADeadLetterIsShown(t *testing.T) {
	r := withLetters(t)
	r.run(t, "dlq", "show", "1").done(t).hides(t, "user-0").
		prints(t, "outage", "stream FINX_REQUESTS, sequence 1", "connect-0", "header Content-Type", events.ContentTypeStructured, "--body prints it")
	r.run(t, "dlq", "show", "1", "--body").done(t).prints(t, `"user_id":"user-0"`)
	got := decodeJSON[letterDetails](t, r.run(t, "dlq", "show", "3", "--body", "-o", "json").done(t).hides(t, canaryCode))
	if got.Class != fault.UnknownState || got.Body == nil || !strings.Contains(*got.Body, `"state":"s"`) || got.Original != 1 || got.Error != "state: nobody's" {
		t.Errorf("%+v", got)
	}
	if got := decodeJSON[letterDetails](t, r.run(t, "dlq", "show", "3", "-o", "json").done(t)); got.Body != nil || got.Bytes == 0 {
		t.Errorf("%+v", got)
	}
	r.run(t, "dlq", "show", "99").exits(t, exitFailed).complains(t, "dead letter 99: no such dead letter")
}

// A callback on a subject that is not redacted keeps its code in the dead letter;
// here it is not printed all the same.
func TestShowRedactsWhateverTheSubject(t *testing.T) {
	r := applied(t)
	if _, err := r.js.Publish(t.Context(), "user.connect.requested", []byte(`{"user_id":"u","code":"`+canaryCode+`"}`)); err != nil {
		t.Fatal(err)
	}
	r.giveUp(t, 1, fault.Permanent(fault.Malformed, errors.New("redirect_uri: missing")), nil)
	r.run(t, "dlq", "show", "1", "--body").done(t).prints(t, `{"user_id":"u"}`).hides(t, canaryCode)
}

func TestRedrivePlansThenActs(t *testing.T) {
	r := withLetters(t)
	r.run(t, "dlq", "redrive", "1", "3").done(t).
		prints(t, "redrive  1", "redrive  3", "2 dead letters: 2 to redrive, 0 refused; nothing was changed, --yes does it").hides(t, canaryCode)
	if plan := decodeJSON[[]redriven](t, r.run(t, "dlq", "redrive", "--all", "-o", "json").done(t).hides(t, canaryCode)); len(plan) != 3 || plan[2].Action != actionRedrive || !plan[2].Refetched {
		t.Errorf("%+v", plan)
	}
	if r.count(t, events.StreamDLQ) != 3 || r.count(t, events.StreamRequests) != 2 {
		t.Fatal("the plan changed something")
	}
	r.run(t, "dlq", "redrive", "--class", "outage", "--yes", "--rate", "1000").done(t).
		prints(t, "redriven 1 user.connect.requested as FINX_REQUESTS 3", "redriven 2 user.connect.requested as FINX_REQUESTS 4", "2 redriven, 0 left")
	if got := r.listed(t); !slices.Equal(got, []uint64{3}) {
		t.Errorf("left: %v", got)
	}
	if e, err := (events.Codec{}).Parse(r.last(t, events.StreamRequests)); err != nil || e.ID != "connect-1" {
		t.Errorf("%+v, %v", e, err)
	}
	r.run(t, "dlq", "redrive", "--class", "outage", "--yes").done(t).prints(t, "no dead letter matches")
	r.run(t, "dlq", "redrive", "1", "--yes").exits(t, exitFailed).prints(t, "no such dead letter").complains(t, "1 dead letter not redriven")
}

func TestRedriveOfACallbackCarriesItsCode(t *testing.T) {
	r := withLetters(t)
	done := decodeJSON[[]redriven](t, r.run(t, "dlq", "redrive", "3", "--yes", "-o", "json").done(t).hides(t, canaryCode))
	if len(done) != 1 || done[0].Action != actionRedriven || done[0].StoredStream != events.StreamCallbacks || done[0].StoredSequence != 2 {
		t.Errorf("%+v", done)
	}
	e, err := events.Codec{}.Parse(r.last(t, events.StreamCallbacks))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := events.DecodeCallbackReceived(e); err != nil || c.Code.Reveal() != canaryCode || e.ID != "callback-0" {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestRedriveRefusesWhatItCannot(t *testing.T) {
	r := withLetters(t)
	s, err := r.js.Stream(t.Context(), events.StreamCallbacks)
	if err == nil {
		err = s.DeleteMsg(t.Context(), 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.run(t, "dlq", "redrive", "--all").done(t).prints(t, "refuse   3", `its original, stream "FINX_CALLBACKS" sequence 1, is gone`, "2 to redrive, 1 refused")
	r.run(t, "dlq", "redrive", "--all", "--yes").exits(t, exitFailed).
		prints(t, "redriven 1", "redriven 2", "kept 3", "is gone", "2 redriven, 1 left").complains(t, "1 dead letter not redriven")
	if got := r.listed(t); !slices.Equal(got, []uint64{3}) {
		t.Errorf("left: %v", got)
	}
}

func TestRedriveOfWhatHasBeenMended(t *testing.T) {
	r := applied(t)
	body := `{"user_id":"u","redirect_uri":"https://app.example/cb","x":"` + strings.Repeat("x", 2000) + `"}`
	if _, err := r.js.Publish(t.Context(), "user.connect.requested", []byte(body)); err != nil {
		t.Fatal(err)
	}
	r.giveUp(t, 1, fault.Permanent(fault.Oversize, errors.New("data: 2000 bytes, at most 1024")), nil)
	r.env["MAX_INPUT_BYTES"] = "1KiB"
	r.run(t, "dlq", "redrive", "1", "--yes").exits(t, exitFailed).prints(t, "still malformed: ", "at most 1024", "--force sends it all the same")
	if got := r.listed(t); len(got) != 1 {
		t.Fatalf("left: %v", got)
	}
	r.env["MAX_INPUT_BYTES"] = "4KiB"
	r.run(t, "dlq", "redrive", "1", "--yes").done(t).prints(t, "redriven 1")
	if got := r.last(t, events.StreamRequests); got.Sequence != 2 || string(got.Data) != body {
		t.Errorf("%+v", got)
	}
	// And what is broken for good, for somebody who knows better.
	if _, err := r.js.Publish(t.Context(), "user.connect.requested", []byte(`no JSON`)); err != nil {
		t.Fatal(err)
	}
	r.giveUp(t, 2, fault.Permanent(fault.Malformed, errors.New("data: is no JSON")), nil) // the one above as well
	seq := fmt.Sprint(r.listed(t)[1])
	r.run(t, "dlq", "redrive", seq, "--yes").exits(t, exitFailed)
	r.run(t, "dlq", "redrive", seq, "--yes", "--force").done(t)
	if got := r.last(t, events.StreamRequests); string(got.Data) != `no JSON` {
		t.Errorf("%+v", got)
	}
}

// One run has one id, so a letter that a run meets twice is a duplicate the
// second time; it must not count as redriven.
func TestADuplicateIsSaid(t *testing.T) {
	r := withLetters(t)
	b, err := dialRig(t, r)
	if err != nil {
		t.Fatal(err)
	}
	q, err := b.letters()
	if err != nil {
		t.Fatal(err)
	}
	var out buffer
	job := &redriveJob{queue: q, run: "run-1", redriveCommand: &redriveCommand{
		p: &program{system: system{stdout: &out, stderr: &out}}, chosen: letterSelection{seqs: []uint64{1}}, yes: true, rate: 100,
	}}
	l, err := q.Get(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	one, e, err := job.prepare(t.Context(), l, true)
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.js.Stream(t.Context(), events.StreamRequests)
	if err != nil {
		t.Fatal(err)
	}
	before := s.CachedInfo().State.LastSeq
	if _, err := r.js.Publish(t.Context(), "user.connect.requested", []byte(`{}`), jetstream.WithMsgID("redrive:1:run-1")); err != nil {
		t.Fatal(err)
	}
	got, err := job.act(t.Context(), one, e)
	if err != nil || got.Action != actionKept || !strings.Contains(got.Why, "duplicate") || job.result() == nil {
		t.Errorf("%+v, %v", got, err)
	}
	if r.last(t, events.StreamRequests).Sequence != before+1 || len(r.listed(t)) != 3 {
		t.Error("something was stored, or the dead letter is gone")
	}
	if err := job.runTable(t.Context()); err == nil || !strings.Contains(out.String(), "kept 1 user.connect.requested: dlq: redriving dead letter 1: the stream says duplicate") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func dialRig(t *testing.T, r *rig) (*broker, error) {
	t.Helper()
	p := &program{system: r.system(strings.NewReader(""), &buffer{}, &buffer{})}
	s, err := p.loadSettings(settings.Need{})
	if err != nil {
		return nil, err
	}
	b, err := dial(t.Context(), s, 5*time.Second)
	if err == nil {
		t.Cleanup(b.nc.Close)
	}
	return b, err
}

func TestRedriveKeepsItsPaceAndStopsWhenTold(t *testing.T) {
	r := withLetters(t)
	began := time.Now()
	r.run(t, "dlq", "redrive", "1", "2", "--yes", "--rate", "5").done(t)
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("two in %s are more than 5 a second", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.runContext(ctx, "", "dlq", "redrive", "--all", "--yes").exits(t, exitFailed).complains(t, "interrupted")
	if got := r.listed(t); !slices.Equal(got, []uint64{3}) {
		t.Errorf("left: %v", got)
	}
}

func TestDiscard(t *testing.T) {
	r := withLetters(t)
	r.run(t, "dlq", "discard", "1", "--reason", "test event").done(t).
		prints(t, "would discard 1 (outage, user.connect.requested, original FINX_REQUESTS 1): test event", "nothing was changed")
	if got := r.listed(t); len(got) != 3 {
		t.Fatalf("left: %v", got)
	}
	r.run(t, "dlq", "discard", "1", "99", "--reason", "test event", "--yes").exits(t, exitFailed).
		prints(t, "discarded 1 (outage", "99: no such dead letter").complains(t, "1 dead letter not found")
	all := decodeJSON[[]discarded](t, r.run(t, "dlq", "discard", "3", "--reason", "r", "--yes", "-o", "json").done(t).hides(t, canaryCode))
	if len(all) != 1 || !all[0].Discarded || all[0].Reason != "r" || all[0].Sequence != 3 {
		t.Errorf("%+v", all)
	}
	if got := r.listed(t); !slices.Equal(got, []uint64{2}) {
		t.Errorf("left: %v", got)
	}
	if r.count(t, events.StreamRequests) != 2 {
		t.Error("an original is gone")
	}
}

func TestDeadLettersWithoutTheirStream(t *testing.T) {
	r := newRig(t)
	for _, args := range []string{"list", "list --summary", "show 1", "redrive --all", "discard 1 --reason x"} {
		r.run(t, append([]string{"dlq"}, strings.Fields(args)...)...).exits(t, exitFailed).
			complains(t, "stream FINX_DLQ does not exist, run `finx-connector streams apply`")
	}
	r.run(t, "dlq", "log").exits(t, exitFailed).complains(t, "finx_control")
}
