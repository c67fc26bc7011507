package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/events"
)

const (
	canaryCode   = "canary-code-4711"
	connectionID = "3f0c7c9e-6d0c-5a57-9a53-0f7ac3a2d7a1"
)

// last returns the newest message of a stream.
func (r *rig) last(t *testing.T, stream string) events.Message {
	t.Helper()
	s, err := r.js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetMsg(t.Context(), s.CachedInfo().State.LastSeq)
	if err != nil {
		t.Fatal(err)
	}
	return events.Message{Subject: m.Subject, Header: m.Header, Data: m.Data, Stream: stream, Sequence: m.Sequence, Time: m.Time}
}

// count returns how many messages a stream holds.
func (r *rig) count(t *testing.T, stream string) uint64 {
	t.Helper()
	s, err := r.js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

func TestEmitConnect(t *testing.T) {
	r := applied(t)
	r.run(t, "emit", "connect", "--user-id", "me", "--redirect-uri", "https://app.example/cb", "--id", "e-1").done(t).
		prints(t, "STREAM", "FINX_REQUESTS", "e-1", "user.connect.requested")
	r.run(t, "emit", "connect", "--user-id", "me", "--redirect-uri", "https://app.example/cb", "--id", "e-1").done(t).prints(t, "duplicate: ")
	got := decodeJSON[emitted](t, r.run(t, "emit", "connect", "-o", "json", "--user-id", "me", "--redirect-uri", "https://app.example/cb?a=<b>",
		"--state", "s", "--tracking-id", "t", "--language", "de", "--provider-id", "p", "--account", "1", "--account", "2",
		"--account-type", "Giro account", "--allow-multi-selection=false", "--sync-period", "365", "--save-secrets").done(t))
	m := r.last(t, events.StreamRequests)
	e, err := events.Codec{}.Parse(m)
	if err != nil || got != (emitted{Type: e.Type, ID: e.ID, Subject: m.Subject, Stream: m.Stream, Sequence: 2}) || m.Header[events.HeaderMsgID][0] != e.ID {
		t.Fatalf("%+v, %+v, %v", got, e, err)
	}
	const want = `{"redirect_uri":"https://app.example/cb?a=<b>","user_id":"me","state":"s","tracking_id":"t","language":"de","provider_id":"p",` +
		`"accounts":[{"id":"1"},{"id":"2"}],"account_types":["Giro account"],"allow_multi_selection":false,"sync_period":365,"save_secrets":true}`
	if string(e.Data) != want {
		t.Errorf("data %s", e.Data)
	}
	r.run(t, "emit", "connect", "--bare", "--user-id", "me", "--redirect-uri", "https://app.example/cb").done(t)
	bare := r.last(t, events.StreamRequests)
	if string(bare.Data) != `{"redirect_uri":"https://app.example/cb","user_id":"me"}` || len(bare.Header[events.HeaderMsgID][0]) != 36 {
		t.Errorf("%s %v", bare.Data, bare.Header)
	}
}

func TestEmitCallback(t *testing.T) {
	r := applied(t)
	file := filepath.Join(t.TempDir(), "secret")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	url := "https://app.example/cb?state=s&success=true&flow_id=f&code=" + canaryCode
	for _, tc := range []struct {
		stdin, file string
		args        []string
		want        events.CallbackReceived
	}{
		{url + "\n", "", []string{"--url-file", "-"}, events.CallbackReceived{State: "s", Success: true, FlowID: "f"}},
		{"", url, []string{"--url-file", file}, events.CallbackReceived{State: "s", Success: true, FlowID: "f"}},
		{"", "", []string{"--url", url, "--bare"}, events.CallbackReceived{State: "s", Success: true, FlowID: "f"}},
		{canaryCode + "\r\n", "", []string{"--state", "s", "--code-file", "-"}, events.CallbackReceived{State: "s", Success: true}},
		{"", canaryCode, []string{"--state", "s", "--success", "--flow-id", "f", "--code-file", file}, events.CallbackReceived{State: "s", Success: true, FlowID: "f"}},
		{"", "", []string{"--state", "s", "--code", canaryCode}, events.CallbackReceived{State: "s", Success: true}},
		{"", "", []string{"--state", "s", "--cancel"}, events.CallbackReceived{State: "s", Cancelled: true}},
		{"", "", []string{"--state", "s", "--success=false"}, events.CallbackReceived{State: "s"}},
		{"", "", []string{"--state", "s", "--success", "--flow-id", "renewed"}, events.CallbackReceived{State: "s", Success: true, FlowID: "renewed"}},
	} {
		write(tc.file)
		r.input(t, tc.stdin, append([]string{"emit", "callback"}, tc.args...)...).done(t).prints(t, "FINX_CALLBACKS").hides(t, canaryCode)
		e, err := events.Codec{}.Parse(r.last(t, events.StreamCallbacks))
		if err != nil {
			t.Fatal(err)
		}
		got, err := events.DecodeCallbackReceived(e)
		codeless := got.FlowID == "renewed"
		if err != nil || got.Success && !codeless && got.Code.Reveal() != canaryCode || codeless && !got.Code.IsZero() {
			t.Errorf("%q: %+v, %v", tc.args, got, err)
		}
		tc.want.Code = got.Code
		if got != tc.want {
			t.Errorf("%q: %+v", tc.args, got)
		}
	}
	// A value that is refused may be a code in the wrong place.
	r.input(t, canaryCode, "emit", "callback", "--url-file", "-").exits(t, exitUsage).complains(t, "callback_url").hides(t, canaryCode)
	r.input(t, strings.Repeat("x", 2<<20), "emit", "callback", "--state", "s", "--code-file", "-").exits(t, exitUsage).complains(t, "larger than")
}

func TestStandardInputCanBeLeft(t *testing.T) {
	r := &rig{}
	ctx, cancel := context.WithCancel(t.Context())
	silent, w := io.Pipe() // a terminal that nobody types at
	t.Cleanup(func() { _ = w.Close() })
	var stdout, stderr buffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"emit", "callback", "--url-file", "-"}, r.system(silent, &stdout, &stderr))
	}()
	cancel()
	if code := <-ended; code != exitFailed || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("exit %d: %s", code, stderr.String())
	}
}

func TestEmitSyncAndErase(t *testing.T) {
	r := newRig(t)
	r.env["SUBJECT_PREFIX"] = "acme"
	r.run(t, "streams", "apply").done(t)
	r.run(t, "emit", "sync", "--connection-id", connectionID, "--since", "2026-01-02", "--full", "--reason", "audit").done(t).
		prints(t, "acme.transactions.sync.requested")
	e, err := events.Codec{Prefix: "acme"}.Parse(r.last(t, events.StreamRequests))
	if err != nil || string(e.Data) != `{"connection_id":"`+connectionID+`","since":"2026-01-02","full":true,"reason":"audit"}` {
		t.Errorf("%s, %v", e.Data, err)
	}
	r.run(t, "emit", "erase", "--user-id", "me").done(t).prints(t, "acme.user.erasure.requested")
	r.run(t, "emit", "erase", "--help").done(t).prints(t, "it waits in its stream")
}

func TestEmitSaysWhatIsInTheWay(t *testing.T) {
	r := newRig(t)
	connect := []string{"emit", "connect", "--user-id", "me", "--redirect-uri", "https://app.example/cb"}
	r.run(t, connect...).exits(t, exitFailed).complains(t, "publishing user.connect.requested: no stream takes it", "streams check")
	r.env["MAX_INPUT_BYTES"] = "1KiB"
	r.run(t, append(connect, "--state", strings.Repeat("s", 1000))...).exits(t, exitUsage).complains(t, "at most 1024")
	r.env["NATS_URL"] = "nats://127.0.0.1:1"
	r.run(t, append(connect, "--timeout", "100ms")...).exits(t, exitFailed).complains(t, "connecting to NATS")
}
