package e2e_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// command is a command of an operator: what it needs beforehand, and its arguments.
type command struct {
	name string
	args func(r *roled) []string
}

func fixed(args ...string) func(*roled) []string { return func(*roled) []string { return args } }

// operatorCommands are what operators type, for a connection that is there.
func operatorCommands(connection string) []command {
	return []command{
		{"streams check", fixed("streams", "check")},
		{"emit connect", fixed("emit", "connect", "--user-id", "me", "--redirect-uri", redirectURI)},
		{"emit callback", fixed("emit", "callback", "--url", redirectURI+"?state=nobodys&success=false&abort=true")},
		{"emit sync", fixed("emit", "sync", "--connection-id", connection)},
		{"emit erase", fixed("emit", "erase", "--user-id", "nobody")},
		{"connections list", fixed("connections", "list")},
		{"connections show", fixed("connections", "show", connection)},
		{"connections sync", fixed("connections", "sync", connection, "--wait", "--wait-timeout", "20s")},
		{"dlq list", func(r *roled) []string { r.badLetter(events.TypeSyncRequested); return []string{"dlq", "list"} }},
		{"dlq list of one subject", fixed("dlq", "list", "--summary", "--subject", "callback.received")},
		{"dlq show", func(r *roled) []string { return []string{"dlq", "show", r.badLetter(events.TypeSyncRequested)} }},
		{"dlq redrive of a request", func(r *roled) []string {
			return []string{"dlq", "redrive", r.badLetter(events.TypeConnectRequested), "--force", "--yes"}
		}},
		{"dlq redrive of a callback", func(r *roled) []string {
			return []string{"dlq", "redrive", r.badLetter(events.TypeCallbackReceived), "--force", "--yes"}
		}},
		{"dlq redrive of a callback with a token more", func(r *roled) []string {
			return []string{"dlq", "redrive", r.badLetter(events.TypeCallbackReceived + ".eu"), "--force", "--yes"}
		}},
		{"dlq redrive of an erasure with a token more", func(r *roled) []string {
			// As a connector that handles erasures would leave it.
			subject := r.codec.Subject(events.TypeErasureRequested + ".eu")
			_, sequence := r.publish(events.SubjectDLQ+"."+events.TypeErasureRequested+".eu", []byte(`{}`), consumer.HeaderReason, "malformed",
				consumer.HeaderStream, events.StreamRequests, consumer.HeaderSequence, "1", consumer.HeaderSubject, subject)
			return []string{"dlq", "redrive", strconv.FormatUint(sequence, 10), "--force", "--yes"}
		}},
		{"dlq discard", func(r *roled) []string {
			return []string{"dlq", "discard", r.badLetter(events.TypeSyncRequested), "--reason", "a test", "--yes"}
		}},
		{"dlq log", fixed("dlq", "log")},
		{"replay outputs of which there are none", fixed("replay", "outputs", "--subject", "connection.failed", "--yes")},
		{"replay outputs", fixed("replay", "outputs", "--connection", connection, "--yes")},
		{"replay outputs of the last hour", fixed("replay", "outputs", "--since", "1h", "--yes")},
		{"replay outputs of one subject", fixed("replay", "outputs", "--subject", "connection.established", "--yes")},
		{"replay inputs", fixed("replay", "inputs", "--since", "1h", "--yes")},
		{"replay refetch", fixed("replay", "refetch", "--connection", connection, "--since", "2026-08-01", "--until", "2026-08-31", "--yes")},
		{doctor, fixed("doctor", "--only", "nats,streams,state")},
	}
}

// badLetter makes a dead letter and returns its place.
func (r *roled) badLetter(subject string) (sequence string) {
	r.t.Helper()
	body := `{"note":"` + events.NewUUID() + `"}`
	if strings.HasPrefix(subject, events.TypeCallbackReceived) {
		body = `{"state":"nobody's","success":true,"code":"c-` + events.NewUUID() + `"}`
	}
	return strconv.FormatUint(r.letter(r.publish(subject, []byte(body))).Sequence, 10)
}

// doctor tries what it may not do, and does without.
const doctor = "doctor"

// operate starts a command as a user in the role of an operator.
func (r *roled) operate(id natstest.Identity, args []string) *process {
	r.t.Helper()
	return launch(r.t, programs.path(r.t, "finx-connector"), r.asUser(natstest.RoleOperator, id, r.env), args...)
}

// TestOperatorHasTheRightsItNeedsAndNoMore runs the operator's commands on the
// shipped configuration of the broker: nothing is refused. Then it takes one rule
// away at a time: a command fails.
func TestOperatorHasTheRightsItNeedsAndNoMore(t *testing.T) { //nolint:tparallel // what one part sees, the next goes on with
	t.Parallel()
	missed := map[string]bool{}
	t.Run("as shipped", func(t *testing.T) { checkOperator(t, "", map[string]string{}, missed) })
	t.Run("with a prefix and a subject a connection", func(t *testing.T) {
		for _, rule := range checkOperator(t, "acme", map[string]string{"SUBJECT_PER_CONNECTION": "true"}, missed) {
			if !missed[plain(rule.subject, "acme")] {
				t.Errorf("superfluous: %s", rule)
			}
		}
	})
}

// checkOperator is checkConnector for commands.
func checkOperator(t *testing.T, prefix string, env map[string]string, missed map[string]bool) []roleRule {
	t.Helper()
	r := newRoled(t, prefix, options{memory: true, env: env}, []string{natstest.RoleOperator})
	r.connector(r.shipped.Roles[natstest.RoleConnector], true)
	link, _ := r.establish("operator@example.com")
	for typ, data := range map[string]any{ // with a token more, as upstream may
		events.TypeConnectRequested: map[string]any{"user_id": "eu", "redirect_uri": redirectURI}, events.TypeCallbackReceived: map[string]any{"state": link.State, "success": "true", "code": "c"},
		events.TypeSyncRequested: map[string]any{"connection_id": link.ConnectionID}, events.TypeErasureRequested: map[string]any{"user_id": "nobody"},
	} {
		r.publish(typ+".eu", encode(t, data), events.HeaderMsgID, events.NewUUID())
	}
	commands := map[string]command{}
	for _, c := range operatorCommands(link.ConnectionID) {
		commands[c.name] = c
		args := c.args(r)
		r.wire.during(c.name)
		p := r.operate(r.shipped.Roles[natstest.RoleOperator], args)
		if code := p.wait(within); code != 0 {
			t.Errorf("%s ended with %d:\n%s", c.name, code, p.out)
		}
	}
	hands := map[string]func(*roled, natstest.Identity){byHand: (*roled).closeGuard, byRunbook: (*roled).followRunbooks}
	for name, do := range hands {
		r.wire.during(name)
		do(r, r.shipped.Roles[natstest.RoleOperator])
	}
	r.wire.checkNothingRefused(t, r.names(), doctor)
	needed := r.wire.needed(r.shipped, r.rules)
	for i, rule := range r.rules {
		c, ok := commands[needed[i]]
		if ok && !missed[plain(rule.subject, prefix)] {
			missed[plain(rule.subject, prefix)] = true
			r.checkFails(rule, c)
		}
		if do := hands[needed[i]]; do != nil && !missed[plain(rule.subject, prefix)] {
			missed[plain(rule.subject, prefix)] = true
			over, stop := quietly(t, func(t testing.TB) { do(r.at(t), rule.without) })
			r.wire.checkRefusal(t, rule, needed[i], over)
			stop()
		}
	}
	return r.rules
}

// byHand is what docs/outages.md has operators do with another tool.
const byHand = "a guard is closed by hand"

func (r *roled) closeGuard(id natstest.Identity) {
	r.t.Helper()
	js, err := jetstream.New(r.login(natstest.RoleOperator, id))
	if err != nil {
		r.t.Fatal(err)
	}
	kv, err := js.KeyValue(r.t.Context(), connectionkv.BucketControl)
	if err == nil {
		err = kv.Delete(r.t.Context(), "breaker.finx")
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// byRunbook is what docs/runbooks have operators look at, and a lane held for a while.
const byRunbook = "runbooks are followed"

func (r *roled) followRunbooks(id natstest.Identity) {
	r.t.Helper()
	nc := r.login(natstest.RoleOperator, id)
	for _, call := range []struct{ subject, body string }{
		{"$JS.API.STREAM.LIST", ""}, // nats stream report
		{"$JS.API.STREAM.NAMES", ""},
		{"$JS.API.CONSUMER.LIST.FINX_REQUESTS", ""}, // nats consumer report
		{"$JS.API.CONSUMER.NAMES.FINX_REQUESTS", ""},
		{"$JS.API.STREAM.INFO.KV_finx_escrow", `{"subjects_filter":">"}`}, // nats stream subjects
		{"$JS.API.CONSUMER.PAUSE.FINX_REQUESTS.finx-syncs", `{"pause_until":"2126-01-01T00:00:00Z"}`},
		{"$JS.API.CONSUMER.PAUSE.FINX_REQUESTS.finx-syncs", ""},
	} {
		reply, err := nc.Request(call.subject, []byte(call.body), 2*time.Second)
		if err != nil || strings.Contains(string(reply.Data), `"error"`) {
			r.t.Fatalf("%s: %v", call.subject, err)
		}
	}
}

// checkFails runs a command without a rule until it is refused what the rule allows.
func (r *roled) checkFails(rule roleRule, c command) {
	r.t.Helper()
	p := r.operate(rule.without, append(c.args(r), "--timeout", "2s"))
	r.wire.checkRefusal(r.t, rule, c.name, p.exited)
	p.kill()
}
