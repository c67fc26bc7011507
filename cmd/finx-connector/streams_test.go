package main

import (
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/streams"
)

func TestApplyMakesWhatCheckMisses(t *testing.T) {
	r := newRig(t)
	r.run(t, "streams", "check").exits(t, exitFailed).
		prints(t, "create  stream FINX_REQUESTS", "create  consumer finx-callbacks on FINX_CALLBACKS", "create  bucket finx_leases").
		complains(t, "finx-connector: streams: ", "differences", "streams apply")
	if _, err := r.js.Stream(t.Context(), "FINX_REQUESTS"); err == nil {
		t.Fatal("check made a stream")
	}
	r.run(t, "streams", "apply").done(t).prints(t, "create  stream FINX_REQUESTS", "applied ")
	r.run(t, "streams", "apply").done(t).prints(t, "no changes")
	r.run(t, "streams", "check").done(t).prints(t, "no changes")
	if got := decodeJSON[[]streams.Change](t, r.run(t, "streams", "check", "-o", "json").done(t)); len(got) != 0 {
		t.Errorf("changes %v", got)
	}
}

func TestApplyLeavesToAHumanWhatItMustNotDo(t *testing.T) {
	r := applied(t)
	s, err := r.js.Stream(t.Context(), "FINX_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.Discard, cfg.MaxMsgs = jetstream.DiscardOld, 10
	if _, err := r.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if err := r.js.DeleteStream(t.Context(), "FINX_DLQ"); err != nil {
		t.Fatal(err)
	}
	changes := decodeJSON[[]streams.Change](t, r.run(t, "streams", "check", "-o", "json").exits(t, exitFailed))
	left := len(streams.Left(changes))
	if left == 0 || len(streams.Pending(changes)) == 0 {
		t.Fatalf("the test wants differences of both kinds: %v", changes)
	}
	r.run(t, "streams", "apply").exits(t, exitFailed).prints(t, "manual", "applied ").complains(t, "left to you")
	again := decodeJSON[[]streams.Change](t, r.run(t, "streams", "apply", "-o", "json").exits(t, exitFailed))
	if len(again) != left || len(streams.Pending(again)) != 0 {
		t.Errorf("after apply: %v", again)
	}
}

func TestStreamsWithoutABroker(t *testing.T) {
	r := &rig{env: map[string]string{"NATS_URL": "nats://someone:canary-password@127.0.0.1:1"}}
	r.run(t, "streams", "check", "--timeout", "2s").exits(t, exitFailed).
		complains(t, "connecting to NATS at nats://127.0.0.1:1: no connection within 2s", "refused").
		hides(t, "canary-password", "Usage:")
}

func TestStreamsWithoutPermission(t *testing.T) {
	r := newRig(t, natstest.WithOptions(func(o *server.Options) {
		o.Users = []*server.User{{Username: "admin", Password: "admin"}, {
			Username: "reader", Password: "canary-password",
			Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Deny: []string{"$JS.API.STREAM.CREATE.>"}},
				Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX_connector.>"}},
			},
		}}
		o.NoAuthUser = "admin"
	}))
	addr := r.srv.URL()[len("nats://"):]
	r.env["NATS_URL"] = "nats://reader:canary-password@" + addr
	r.run(t, "streams", "apply", "--timeout", "500ms").exits(t, exitFailed).
		complains(t, "creating stream FINX_REQUESTS", "the broker said: ", `ermissions Violation for Publish to "$JS.API.STREAM.CREATE.`).
		hides(t, "canary-password")
	r.env["NATS_URL"] = "nats://reader:wrong-password@" + addr
	r.run(t, "streams", "check", "--timeout", "500ms").exits(t, exitFailed).
		complains(t, "uthorization").hides(t, "wrong-password")
}
