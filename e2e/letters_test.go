package e2e_test

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// bad is an input that must end as a dead letter.
type bad struct {
	name    string
	body    string
	headers []string // names and values in turn
	class   fault.Class
	field   string // what the error must name
	gone    bool   // the body gives way to a note
}

// soon is how fast a dead letter is expected; tooLate is what fails a test on a
// machine that compiles beside it.
const (
	soon    = time.Second
	tooLate = 10 * time.Second
)

// plantedCode stands in every bad callback.
const plantedCode = "planted-code-5b1f09c3d77a4e21"

// TestBadConnectRequests has a good request behind each bad one.
func TestBadConnectRequests(t *testing.T) {
	r := newRig(t, options{memory: true, env: map[string]string{"REDIRECT_URI_ALLOW": "https://app.example,http://localhost:3000"}})
	r.start()
	wrong := &slowest{}
	for _, b := range badConnects() {
		t.Run(b.name, func(t *testing.T) {
			r := r.at(t)
			stream, seq, sent := r.publishBad(events.TypeConnectRequested, b)
			good := r.send(events.TypeConnectRequested, map[string]any{"user_id": "good", "redirect_uri": "http://localhost:3000/cb"})
			wrong.note(b.name, r.checkLetter(b, events.TypeConnectRequested, "finx-connects", stream, seq, sent))
			r.link(good)
		})
	}
	t.Logf("slowest of %d: %s", len(badConnects()), wrong)
	if n := len(r.seen.lettersSoFar()); n != len(badConnects()) {
		t.Errorf("%d dead letters for %d bad requests", n, len(badConnects()))
	}
}

// TestBadCallbacks has a good callback behind each bad one, and looks for the code.
func TestBadCallbacks(t *testing.T) {
	r := newRig(t, options{memory: true})
	r.start()
	r.wait()
	wrong := &slowest{}
	for _, b := range badCallbacks() {
		t.Run(b.name, func(t *testing.T) {
			r := r.at(t)
			link := r.connect("callbacks@example.com")
			stream, seq, sent := r.publishBad(events.TypeCallbackReceived, b)
			r.send(events.TypeCallbackReceived, map[string]any{"state": link.State, "success": "false", "abort": true})
			wrong.note(b.name, r.checkLetter(b, events.TypeCallbackReceived, "finx-callbacks", stream, seq, sent))
			r.event("failure of the good one", func(e event) bool {
				return e.Type == events.TypeConnectionFailed && e.ConnectionID == link.ConnectionID
			})
		})
	}
	t.Logf("slowest of %d: %s", len(badCallbacks()), wrong)
	if n := r.sandbox.Stats().Total("token.exchange"); n != 0 {
		t.Errorf("%d codes were sent to finX", n)
	}
}

// TestBadSyncRequests has a good request behind each bad one.
func TestBadSyncRequests(t *testing.T) {
	r := newRig(t, options{memory: true})
	r.start()
	link, _ := r.establish("syncs@example.com")
	wrong := &slowest{}
	for i, b := range badSyncs(link.ConnectionID) {
		t.Run(b.name, func(t *testing.T) {
			r := r.at(t)
			stream, seq, sent := r.publishBad(events.TypeSyncRequested, b)
			r.send(events.TypeSyncRequested, map[string]any{"connection_id": link.ConnectionID})
			wrong.note(b.name, r.checkLetter(b, events.TypeSyncRequested, "finx-syncs", stream, seq, sent))
			r.completed(link.ConnectionID, i+2)
		})
	}
	t.Logf("slowest of %d: %s", len(badSyncs("")), wrong)
}

// publishBad publishes with a header of upstream's own, which must be kept.
func (r *rig) publishBad(typ string, b bad) (stream string, seq uint64, sent time.Time) {
	r.t.Helper()
	sent = time.Now()
	stream, seq = r.publish(typ, []byte(b.body), append([]string{"X-Upstream", "shop-7"}, b.headers...)...)
	return stream, seq, sent
}

// checkLetter waits for the dead letter, holds it against the contract and
// returns how long it took from publishing to its being stored.
func (r *rig) checkLetter(b bad, subject, durable, stream string, seq uint64, sent time.Time) time.Duration {
	r.t.Helper()
	letter := r.letter(stream, seq)
	for name, want := range map[string]string{
		consumer.HeaderReason: string(b.class), consumer.HeaderStream: stream, consumer.HeaderSubject: subject,
		consumer.HeaderSequence: strconv.FormatUint(seq, 10), consumer.HeaderConsumer: durable,
		consumer.HeaderAttempts: "1", "X-Upstream": "shop-7",
	} {
		if got := header(letter, name); got != want {
			r.t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if letter.Subject != "dlq."+subject {
		r.t.Errorf("it lies on %s", letter.Subject)
	}
	text := header(letter, consumer.HeaderError)
	if !strings.Contains(text, b.field+": ") || strings.ContainsAny(text, "\r\n") {
		r.t.Errorf("Dlq-Error %q does not name %s", text, b.field)
	}
	if at, err := time.Parse(time.RFC3339, header(letter, consumer.HeaderTime)); err != nil || time.Since(at) > time.Minute {
		r.t.Errorf("Dlq-Time %q", header(letter, consumer.HeaderTime))
	}
	withheld := bytes.Contains(letter.Data, []byte(`"withheld"`))
	if withheld != b.gone {
		r.t.Errorf("the body gave way to a note: %t, want %t", withheld, b.gone)
	}
	if subject != events.TypeCallbackReceived && !b.gone && string(letter.Data) != b.body {
		r.t.Error("the body is not the original's")
	}
	if everything := string(encode(r.t, letter.Header)) + string(letter.Data) + letter.Subject; strings.Contains(everything, plantedCode) {
		r.t.Error("the code is in the dead letter")
	}
	took := letter.Time.Sub(sent)
	if took > tooLate {
		r.t.Errorf("took %s", took)
	}
	return took
}

// slowest remembers the longest of several times.
type slowest struct {
	name string
	took time.Duration
	late int
}

func (s *slowest) note(name string, took time.Duration) {
	if took > soon {
		s.late++
	}
	if took > s.took {
		s.name, s.took = name, took
	}
}

func (s *slowest) String() string {
	return s.took.Round(time.Microsecond).String() + " (" + s.name + "), " + strconv.Itoa(s.late) + " took more than " + soon.String()
}
