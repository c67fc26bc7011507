package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/doctor"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

func TestDoctorWithoutNATS(t *testing.T) {
	in := installed(t)
	in.env["NATS_URL"] = "nats://u:" + canaryPassword + "@127.0.0.1:1,nats://127.0.0.1:2"
	in.doctor(t, exitFailed).
		says(t, doctor.Fail, "nats", "server", "127.0.0.1:1", "127.0.0.1:2", "refused", "start the broker", "NATS_URL (now nats://127.0.0.1:1,nats://127.0.0.1:2)").
		says(t, doctor.Skip, "streams", "all", "skipped: no connection to NATS").
		says(t, doctor.Skip, "state", "all", "skipped: no connection to NATS").
		says(t, doctor.OK, "vault", "rights").says(t, doctor.OK, "finx", "credentials").
		says(t, doctor.OK, "clock", "Vault").only(t, "nats/server")
	in.env["NATS_URL"] = in.srv.URL() + ",nats://127.0.0.1:1"
	in.doctor(t, exitOK).says(t, doctor.Warn, "nats", "addresses", "1 of 2", "silent: 127.0.0.1:1").only(t, "nats/addresses")
	in.env["NATS_URL"], in.env["NATS_CREDS"] = in.srv.URL(), "/no/such.creds"
	in.doctor(t, exitFailed).says(t, doctor.Fail, "nats", "settings", "NATS_CREDS")
}

func TestDoctorWithoutJetStream(t *testing.T) {
	srv := natstest.Start(t, natstest.WithOptions(func(o *server.Options) { o.JetStream = false }))
	in := installed(t)
	in.env["NATS_URL"] = srv.URL()
	in.doctor(t, exitFailed, "--timeout", "5s").
		says(t, doctor.Fail, "nats", "JetStream", "store_dir").
		says(t, doctor.Skip, "streams", "all", "no JetStream").only(t, "nats/JetStream")
}

// TestDoctorOfStreams breaks one thing at a time on one broker and mends it again.
func TestDoctorOfStreams(t *testing.T) {
	in := installed(t)
	change := func(name string, edit func(*jetstream.StreamConfig)) {
		t.Helper()
		s, err := in.js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		cfg := s.CachedInfo().Config
		edit(&cfg)
		if _, err := in.js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	const apply = "finx-connector streams apply"

	if err := in.js.DeleteStream(t.Context(), "FINX_DLQ"); err != nil {
		t.Fatal(err)
	}
	in.doctor(t, exitFailed).says(t, doctor.Fail, "streams", "missing", "stream FINX_DLQ", apply).
		says(t, doctor.Skip, "state", "dead letters", "stream not found").only(t, "streams/missing")
	in.run(t, "streams", "apply").done(t)

	change("FINX_EVENTS", func(c *jetstream.StreamConfig) { c.Duplicates = time.Minute })
	in.doctor(t, exitFailed).says(t, doctor.Fail, "streams", "stream FINX_EVENTS", "duplicate_window is 1m0s, want 30m0s", apply).only(t, "streams/stream FINX_EVENTS")
	in.run(t, "streams", "apply").done(t)

	change("FINX_EVENTS", func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld })
	in.doctor(t, exitFailed).says(t, doctor.Fail, "streams", "stream FINX_EVENTS", "discard is DiscardOld, want DiscardNew", "set discard to new").only(t, "streams/stream FINX_EVENTS")
	change("FINX_EVENTS", func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardNew })

	if err := in.js.DeleteConsumer(t.Context(), "FINX_REQUESTS", "finx-syncs"); err != nil {
		t.Fatal(err)
	}
	in.doctor(t, exitFailed).says(t, doctor.Fail, "streams", "missing", "consumer finx-syncs on FINX_REQUESTS", apply)
	in.run(t, "streams", "apply").done(t)

	if _, err := in.js.PauseConsumer(t.Context(), "FINX_REQUESTS", "finx-connects", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	in.doctor(t, exitOK).says(t, doctor.Warn, "streams", "finx-connects", "paused", "nats consumer resume FINX_REQUESTS finx-connects").only(t, "streams/finx-connects")
	if _, err := in.js.ResumeConsumer(t.Context(), "FINX_REQUESTS", "finx-connects"); err != nil {
		t.Fatal(err)
	}

	change("FINX_CALLBACKS", func(c *jetstream.StreamConfig) { c.MaxBytes = 1000 })
	if _, err := in.js.Publish(t.Context(), "callback.received", []byte(strings.Repeat("x", 760))); err != nil {
		t.Fatal(err)
	}
	in.doctor(t, exitOK).says(t, doctor.Warn, "streams", "FINX_CALLBACKS", "% of max_bytes", "STREAM_MAX_BYTES", apply).only(t, "streams/FINX_CALLBACKS")
	change("FINX_CALLBACKS", func(c *jetstream.StreamConfig) { c.MaxBytes = 830 })
	in.doctor(t, exitFailed).says(t, doctor.Fail, "streams", "FINX_CALLBACKS", "% of max_bytes")
}

func TestDoctorOfMaxPayload(t *testing.T) {
	in := installed(t, natstest.MaxPayload(128<<10))
	in.doctor(t, exitOK).says(t, doctor.Warn, "nats", "max_payload", "max_payload 128 KiB", "CHUNK_BYTES (512 KiB)", "set max_payload: 540672").only(t, "nats/max_payload")
	in = installed(t, natstest.MaxPayload(32<<10))
	in.doctor(t, exitFailed).says(t, doctor.Fail, "nats", "max_payload", "max_payload 32 KiB")
}

func TestDoctorOfTheMonitoringPort(t *testing.T) {
	for always, want := range map[bool]doctor.Verdict{true: doctor.OK, false: doctor.Warn} {
		in := installed(t, natstest.WithOptions(func(o *server.Options) {
			o.HTTPHost, o.HTTPPort, o.SyncAlways = "127.0.0.1", server.RANDOM_PORT, always
		}))
		at := "http://" + in.srv.Raw().MonitorAddr().String()
		in.doctor(t, exitOK, "--nats-monitor", at).says(t, want, "nats", "sync_interval", map[bool]string{true: "always", false: "every 2m0s"}[always])
		in.doctor(t, exitFailed, "--nats-monitor", in.env["VAULT_ADDR"]).says(t, doctor.Fail, "nats", "sync_interval", "not the answer of a NATS server")
		in.doctor(t, exitFailed, "--nats-monitor", "nats:8222").says(t, doctor.Fail, "nats", "sync_interval", "not of the form")
	}
}

// TestDoctorOfRights runs doctor as users that may do less than they need.
func TestDoctorOfRights(t *testing.T) {
	look := []string{"$JS.API.INFO", "$JS.API.STREAM.INFO.*", "$JS.API.CONSUMER.INFO.*.*", "$JS.API.STREAM.MSG.GET.*"}
	serve := append([]string{
		"widget.link.created", "connection.>", "transactions.>", "finx.timer.>", "dlq.>", "$JS.API.CONSUMER.MSG.NEXT.*.*", "$JS.ACK.>", "$KV.>", "$O.>",
	}, look...)
	var users []*server.User
	for name, allow := range map[string][]string{
		"admin": {">"}, "serve": serve, "short": serve[1:], "operator": look, "blind": serve[:len(serve)-len(look)],
	} {
		users = append(users, &server.User{Username: name, Password: canaryPassword, Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: allow}, Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX_connector.>", "_INBOX.>"}},
		}})
	}
	srv := natstest.Start(t, natstest.WithOptions(func(o *server.Options) { o.Users = users }))
	addr := strings.TrimPrefix(srv.URL(), "nats://")
	as := func(user string) string { return "nats://" + user + ":" + canaryPassword + "@" + addr }
	in := installedOn(t, &rig{srv: srv, js: natstest.JetStream(t, as("admin")), env: map[string]string{"NATS_URL": as("admin")}}, theVault.Start(t))
	for user, check := range map[string]func(d diagnosed){
		"admin": func(d diagnosed) {
			d.says(t, doctor.Warn, "nats", "rights of serve", "may publish to anything").only(t, "nats/rights of serve")
		},
		"serve": func(d diagnosed) {
			d.says(t, doctor.OK, "nats", "rights of serve", "all ").says(t, doctor.OK, "nats", "login", "accepted").only(t)
		},
		"operator": func(d diagnosed) {
			d.says(t, doctor.Skip, "nats", "rights of serve", "not the user that serve runs as").says(t, doctor.OK, "streams", "configuration").only(t)
		},
	} {
		in.env["NATS_URL"] = as(user)
		check(in.doctor(t, exitOK))
	}
	in.env["NATS_URL"] = as("short")
	in.doctor(t, exitFailed).says(t, doctor.Fail, "nats", "rights of serve", "may not publish to widget.link.created", "deploy/nats").only(t, "nats/rights of serve")
	in.env["NATS_URL"] = as("blind")
	began := time.Now()
	in.doctor(t, exitOK).
		says(t, doctor.Skip, "nats", "JetStream", "not visible to this user", `publish to "$JS.API.INFO"`, "operator's credentials").
		says(t, doctor.Skip, "streams", "configuration", "not visible", `publish to "$JS.API.STREAM.INFO.FINX_REQUESTS"`).
		says(t, doctor.Skip, "streams", "health", "not visible", "FINX_DLQ", "KV_finx_escrow").
		says(t, doctor.Skip, "state", "dead letters", "not visible")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("refusals took %s: they were waited for", took)
	}
	in.env["NATS_URL"] = "nats://serve:wrong" + canaryPassword + "@" + addr
	in.doctor(t, exitFailed).says(t, doctor.Fail, "nats", "login", "uthorization", "NATS_CREDS").says(t, doctor.Skip, "streams", "all")
}

// TestDoctorOnTheShippedBroker runs it as the roles of deploy/nats: all that serve needs
// is in the connector's, and what an operator looks at is in his.
func TestDoctorOnTheShippedBroker(t *testing.T) {
	shipped := natstest.NewShipped(t, "")
	srv := shipped.Single()
	as := func(role string) map[string]string {
		return map[string]string{"NATS_URL": srv.URL(), "NATS_NKEY_SEED_FILE": shipped.Roles[role].SeedFile, "NATS_INBOX_PREFIX": "_INBOX_" + role}
	}
	in := installedOn(t, &rig{srv: srv, env: as(natstest.RoleProvisioner)}, theVault.Start(t))
	maps.Copy(in.env, as(natstest.RoleConnector))
	in.doctor(t, exitOK).only(t).says(t, doctor.OK, "nats", "rights of serve", "may publish to all").
		says(t, doctor.OK, "streams", "FINX_CALLBACKS").says(t, doctor.OK, "state", "breakers")
	maps.Copy(in.env, as(natstest.RoleOperator))
	in.doctor(t, exitOK).only(t).says(t, doctor.Skip, "nats", "rights of serve", "not the user that serve runs as").
		says(t, doctor.OK, "nats", "JetStream").says(t, doctor.OK, "streams", "configuration").
		says(t, doctor.OK, "streams", "FINX_EVENTS").says(t, doctor.OK, "state", "dead letters", "none")
	maps.Copy(in.env, as(natstest.RoleUpstream))
	in.doctor(t, exitOK).only(t).says(t, doctor.Skip, "streams", "configuration", "not visible to this user")
	in.env["NATS_INBOX_PREFIX"] = "_INBOX_operator"
	in.doctor(t, exitFailed, "--timeout", "5s").only(t, "nats/inbox").says(t, doctor.Fail, "nats", "inbox", "_INBOX_operator.", "NATS_INBOX_PREFIX")
}

func TestDoctorOfACluster(t *testing.T) {
	c := natstest.Cluster(t, 3)
	r := &rig{srv: c.Nodes[0], js: natstest.JetStream(t, c.URL()), env: map[string]string{"NATS_URL": c.URL(), "STREAM_REPLICAS": "1"}}
	in := installedOn(t, r, theVault.Start(t))
	in.doctor(t, exitOK).says(t, doctor.Warn, "streams", "copies", "FINX_EVENTS", "STREAM_REPLICAS=3").only(t, "streams/copies")
	delete(in.env, "STREAM_REPLICAS")
	in.doctor(t, exitOK).says(t, doctor.Warn, "streams", "stream FINX_EVENTS", "num_replicas is 1, want 3")
	in.run(t, "streams", "apply").done(t)
	natstest.Eventually(t, 60*time.Second, func() bool {
		d := decodeJSON[diagnosed](t, in.run(t, "doctor", "-o", "json"))
		for _, f := range d.Findings {
			if f.Verdict == doctor.Warn || f.Verdict == doctor.Fail {
				return false
			}
		}
		return true
	}, "three copies of everything")
	c.Kill(c.StreamLeader("FINX_EVENTS"))
	natstest.Eventually(t, 60*time.Second, func() bool {
		d := decodeJSON[diagnosed](t, in.run(t, "doctor", "-o", "json"))
		for _, f := range d.Findings {
			if f.Check == "FINX_EVENTS" && f.Verdict == doctor.Warn && strings.Contains(f.Seen, "offline: node-") {
				return true
			}
		}
		return false
	}, "the dead server is named")
	in.doctor(t, exitOK).says(t, doctor.Warn, "nats", "addresses", "2 of 3")
}

func TestDoctorOfTheSharedState(t *testing.T) {
	in := installed(t)
	put := func(subject string, value any, header nats.Header) {
		t.Helper()
		raw, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.js.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Data: raw, Header: header}); err != nil {
			t.Fatal(err)
		}
	}
	since := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	put("$KV.finx_control.breaker.finx", map[string]any{"kind": "away", "open_until": since.Add(2 * time.Hour), "since": since, "why": "no answer of finX"}, nil)
	put("$KV.finx_control.breaker.vault", map[string]any{}, nil)
	put("$KV.finx_control.replica.a", map[string]any{"holder": "a", "since": since, "version": "1.0.0"}, nil)
	put("$KV.finx_control.replica.b", map[string]any{"holder": "b", "since": since}, nil)
	put("$KV.finx_escrow.00000000-0000-0000-0000-000000000000.aa", "sealed", nil)
	for i, class := range []string{"malformed", "outage", "outage"} {
		put("dlq.callback.received", i, nats.Header{"Dlq-Reason": {class}})
	}
	in.doctor(t, exitOK).
		says(t, doctor.Warn, "state", "breaker of finx", "since "+since.Format(time.RFC3339), "until ", "no answer of finX", "nats kv del finx_control breaker.finx").
		says(t, doctor.Warn, "state", "replicas", "2 live: 1 of version 1.0.0, 1 of version unknown").
		says(t, doctor.Warn, "state", "escrow", "1 sealed answers").
		says(t, doctor.Warn, "state", "dead letters", "1 malformed, 2 outage", "finx-connector dlq list").
		only(t, "state/breaker of finx", "state/replicas", "state/escrow", "state/dead letters")
}

func TestDoctorOfClocks(t *testing.T) {
	in := installed(t)
	for ahead, want := range map[time.Duration]struct {
		verdict, finx doctor.Verdict
		code          int
		text          string
	}{
		3 * time.Second: {doctor.Warn, doctor.Warn, exitOK, "ahead of it; CLOCK_SKEW allows 5s"},
		-time.Minute:    {doctor.Fail, doctor.Warn, exitFailed, "behind it; CLOCK_SKEW allows 5s"},
	} {
		in.now = func() time.Time { return time.Now().Add(ahead) }
		in.doctor(t, want.code).
			says(t, want.verdict, "clock", "NATS", want.text, "NTP").says(t, want.verdict, "clock", "Vault", want.text).
			says(t, want.finx, "clock", "finX", want.text).only(t, "clock/NATS", "clock/Vault", "clock/finX")
	}
}

// TestDoctorOfWaiting: what nobody takes is said, once it is old.
func TestDoctorOfWaiting(t *testing.T) {
	in := installed(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for i := range 3 {
		if _, err := in.js.Publish(ctx, "user.connect.requested", fmt.Appendf(nil, `{"user_id":"u%d"}`, i)); err != nil {
			t.Fatal(err)
		}
	}
	in.doctor(t, exitOK).says(t, doctor.OK, "streams", "finx-connects", "3 wait", "the oldest 0s").only(t)
}

// notFinX answers everything like a gateway.
func notFinX(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}
