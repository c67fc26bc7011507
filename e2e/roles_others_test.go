package e2e_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// login connects as a user in a role.
func (r *roled) login(role string, id natstest.Identity) *nats.Conn {
	r.t.Helper()
	seed, err := nats.NkeyOptionFromSeed(id.SeedFile)
	if err != nil {
		r.t.Fatal(err)
	}
	// What is refused comes out of band; the wiretap hears of it.
	return natstest.Connect(r.t, r.url, seed, nats.CustomInboxPrefix("_INBOX_"+role), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
}

// clientActs are what teams around the connector do with a client of their own.
func clientActs(role string) map[string]func(ctx context.Context, r *roled, js jetstream.JetStream) error {
	acts := map[string]func(ctx context.Context, r *roled, js jetstream.JetStream) error{}
	if role == natstest.RoleUpstream {
		for _, typ := range []string{events.TypeConnectRequested, events.TypeCallbackReceived, events.TypeSyncRequested, events.TypeErasureRequested} {
			for _, subject := range []string{typ, typ + ".eu.42"} {
				acts["it publishes "+subject] = func(ctx context.Context, r *roled, js jetstream.JetStream) error {
					_, err := js.Publish(ctx, r.codec.Subject(subject), []byte(`{}`))
					return err
				}
			}
		}
		return acts
	}
	consume := func(filter string) func(ctx context.Context, r *roled, js jetstream.JetStream) error {
		return func(ctx context.Context, r *roled, js jetstream.JetStream) error {
			cfg := jetstream.ConsumerConfig{Durable: "downstream", AckPolicy: jetstream.AckExplicitPolicy}
			if filter != "" {
				cfg.FilterSubject = r.codec.Subject(filter)
			}
			if _, err := js.CreateOrUpdateConsumer(ctx, events.StreamEvents, cfg); err != nil {
				return err
			}
			c, err := js.Consumer(ctx, events.StreamEvents, "downstream")
			if err != nil {
				return err
			}
			batch, err := c.Fetch(1, jetstream.FetchContext(ctx))
			if err != nil {
				return err
			}
			for m := range batch.Messages() {
				if err := m.DoubleAck(ctx); err != nil {
					return err
				}
			}
			return batch.Error()
		}
	}
	acts["it consumes all events"] = consume("")
	acts["it consumes one kind of events"] = consume(events.TypeTransactionsFetched)
	acts["it looks at the stream"] = func(ctx context.Context, _ *roled, js jetstream.JetStream) error {
		_, err := js.Stream(ctx, events.StreamEvents)
		return err
	}
	acts["it reads a large transaction"] = func(ctx context.Context, r *roled, js jetstream.JetStream) error {
		objects, err := js.ObjectStore(ctx, events.ObjectsOversize)
		if err != nil {
			return err
		}
		for _, e := range r.seen.of(events.TypeTransactionsFetched, "") {
			d, err := events.DecodeTransactionsFetched(e.Output)
			if err != nil {
				return err
			}
			for _, ref := range d.Oversize {
				if _, err := objects.GetBytes(ctx, ref.Object); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return acts
}

// TestClientsHaveTheRightsTheyNeedAndNoMore is for upstream and downstream.
func TestClientsHaveTheRightsTheyNeedAndNoMore(t *testing.T) { //nolint:tparallel // what one part sees, the next goes on with
	t.Parallel()
	roles := []string{natstest.RoleUpstream, natstest.RoleDownstream}
	missed := map[string]bool{}
	var rules []roleRule
	for name, long := range map[string]bool{"as shipped": false, "with long acknowledgements": true} {
		t.Run(name, func(t *testing.T) {
			r := newRoled(t, "", options{
				memory: true, env: map[string]string{}, sandbox: finxtest.Options{Shape: finxtest.Shape{PerAccount: []int{20}, HugeBytes: []int{600 << 10}}},
			}, roles, func(o *server.Options) { o.FeatureFlags = map[string]bool{server.FeatureFlagJsAckFormatV2: long} })
			stop := r.connector(r.shipped.Roles[natstest.RoleConnector], true)
			for range 3 { // enough for everybody who consumes
				r.establish("client@example.com")
			}
			stop()
			rules = r.rules
			for _, role := range roles {
				r.checkClient(role, missed)
			}
			r.wire.checkNothingRefused(t, r.names())
		})
	}
	for _, rule := range rules {
		if !missed[rule.String()] {
			t.Errorf("superfluous: %s", rule)
		}
	}
}

func (r *roled) checkClient(role string, missed map[string]bool) {
	r.t.Helper()
	js, err := jetstream.New(r.login(role, r.shipped.Roles[role]))
	if err != nil {
		r.t.Fatal(err)
	}
	acts := clientActs(role)
	for name, act := range acts {
		r.wire.during(name)
		ctx, cancel := context.WithTimeout(r.t.Context(), within)
		if err := act(ctx, r, js); err != nil {
			r.t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
	needed := r.wire.needed(r.shipped, r.rules)
	for i, rule := range r.rules {
		if rule.role != role || needed[i] == "" || missed[rule.String()] {
			continue
		}
		missed[rule.String()] = true
		js, err := jetstream.New(r.login(role, rule.without))
		if err != nil {
			r.t.Fatal(err)
		}
		over, stop := quietly(r.t, func(t testing.TB) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			_ = acts[needed[i]](ctx, r.at(t), js) // what it is refused counts
		})
		r.wire.checkRefusal(r.t, rule, needed[i], over)
		stop()
	}
}

// TestProvisionerHasTheRightsItNeedsAndNoMore makes everything, and raises everything
// again after it was lowered.
func TestProvisionerHasTheRightsItNeedsAndNoMore(t *testing.T) {
	t.Parallel()
	r := newRoled(t, "", options{memory: true, env: map[string]string{}}, []string{natstest.RoleProvisioner})
	apply := func(id natstest.Identity) *process {
		return launch(t, programs.path(t, "finx-connector"), r.asUser(natstest.RoleProvisioner, id, nil), "streams", "apply", "--timeout", "2s")
	}
	again := func() {
		t.Helper()
		if p := apply(r.shipped.Roles[natstest.RoleProvisioner]); p.wait(within) != 0 {
			t.Fatalf("streams apply:\n%s", p.out)
		}
	}
	r.wire.during("lowered")
	r.lower()
	again()
	r.wire.checkNothingRefused(t, r.names())
	needed := r.wire.needed(r.shipped, r.rules)
	for i, rule := range r.rules {
		switch needed[i] {
		case "":
			t.Errorf("superfluous: %s", rule)
			continue
		case "lowered":
			again()
			r.lower()
		default:
			r.clear()
		}
		p := apply(rule.without)
		r.wire.checkRefusal(t, rule, "streams are applied", p.exited)
		p.kill()
	}
}

// ours lists the streams on the broker.
func (r *rig) ours() (all []*jetstream.StreamInfo) {
	r.t.Helper()
	list := r.js.ListStreams(r.t.Context())
	for info := range list.Info() {
		all = append(all, info)
	}
	if err := list.Err(); err != nil {
		r.t.Fatal(err)
	}
	return all
}

// lower takes something from each stream that streams apply gives back.
func (r *rig) lower() {
	r.t.Helper()
	for _, info := range r.ours() {
		cfg := info.Config
		cfg.AllowDirect = false
		if _, err := r.js.UpdateStream(r.t.Context(), cfg); err != nil {
			r.t.Fatal(err)
		}
	}
}

// clear leaves nothing.
func (r *rig) clear() {
	r.t.Helper()
	for _, info := range r.ours() {
		if err := r.js.DeleteStream(r.t.Context(), info.Config.Name); err != nil {
			r.t.Fatal(err)
		}
	}
}

// forbidden lists what each role must not do: subjects to publish to, and with "SUB "
// before them to subscribe to.
func forbidden() map[string][]string {
	everybody := []string{
		"SUB >", "SUB callback.received", "SUB user.connect.requested", "SUB transactions.fetched", "SUB $JS.API.>", "SUB $JS.ACK.>", "SUB $KV.>", "SUB _INBOX.>", "SUB $SYS.>",
		"SUB $JS.EVENT.ADVISORY.>", "$SYS.REQ.SERVER.PING",
		"$JS.API.STREAM.DELETE.FINX_EVENTS", "$JS.API.STREAM.PURGE.FINX_EVENTS", "$JS.API.STREAM.DELETE.KV_finx_connections", "$JS.API.STREAM.PURGE.FINX_CALLBACKS",
		"$JS.API.STREAM.MSG.DELETE.FINX_CALLBACKS", "$JS.API.STREAM.MSG.DELETE.FINX_EVENTS", "$JS.API.STREAM.CREATE.MINE", "$JS.API.STREAM.UPDATE.MINE",
		"$JS.API.STREAM.SNAPSHOT.FINX_CALLBACKS", "$JS.API.STREAM.RESTORE.FINX_CALLBACKS", "$JS.API.ACCOUNT.PURGE.FINX", "$JS.API.META.LEADER.STEPDOWN",
		"$JS.API.CONSUMER.DELETE.FINX_CALLBACKS.finx-callbacks", "$JS.API.CONSUMER.RESET.FINX_CALLBACKS.finx-callbacks",
		"$JS.API.CONSUMER.DURABLE.CREATE.FINX_CALLBACKS.mine", "finx.due.sync.x", "anything.else",
	}
	inputs := []string{"user.connect.requested", "callback.received", "callback.received.eu", "user.erasure.requested"}
	outputs := []string{"widget.link.created", "connection.established", "transactions.fetched", "transactions.fetch.completed", "replay.completed"}
	books := []string{"$KV.finx_connections.connection.x", "$KV.finx_leases.x", "$KV.finx_escrow.x", "finx.timer.x", "dlq.callback.received", "$O.finx_oversize.C.x", "$O.finx_oversize.M.x"}
	reading := []string{
		"$JS.API.STREAM.MSG.GET.KV_finx_connections", "$JS.API.DIRECT.GET.KV_finx_connections.$KV.finx_connections.connection.x", "$JS.API.DIRECT.GET.FINX_CALLBACKS",
		"$JS.API.CONSUMER.CREATE.KV_finx_connections.mine.>", "$JS.API.CONSUMER.CREATE.KV_finx_escrow.mine.>", "$JS.API.STREAM.MSG.GET.KV_finx_escrow",
	}
	callbacks := []string{"$JS.API.CONSUMER.CREATE.FINX_CALLBACKS.mine", "$JS.API.CONSUMER.CREATE.FINX_CALLBACKS.mine.callback.received", "$JS.API.CONSUMER.MSG.NEXT.FINX_CALLBACKS.mine"}
	overview := []string{"$JS.API.STREAM.LIST", "$JS.API.CONSUMER.LIST.FINX_CALLBACKS", "$JS.API.CONSUMER.NAMES.FINX_CALLBACKS", "$JS.API.CONSUMER.PAUSE.FINX_CALLBACKS.finx-callbacks"}
	lanes := []string{"$JS.API.CONSUMER.MSG.NEXT.FINX_CALLBACKS.finx-callbacks", "$JS.ACK.FINX_CALLBACKS.finx-callbacks.1.1.1.1.0", "$JS.ACK.x.y.FINX_CALLBACKS.finx-callbacks.1.1.1.1.0"}
	join := func(parts ...[]string) (all []string) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	return map[string][]string{
		natstest.RoleUpstream: join(everybody, overview, outputs, books, reading, callbacks, lanes, []string{
			"$JS.API.STREAM.MSG.GET.FINX_CALLBACKS", "$JS.API.STREAM.INFO.FINX_CALLBACKS", "$JS.API.INFO", "$JS.API.STREAM.NAMES", "SUB _INBOX_connector.>", "SUB _INBOX_operator.>",
		}),
		natstest.RoleConnector: join(everybody, overview, inputs, callbacks, []string{
			"replay.completed", "$KV.finx_control.replay.x", "$KV.finx_control.dlq.x", "$JS.API.STREAM.MSG.GET.FINX_EVENTS", "$JS.API.STREAM.MSG.DELETE.FINX_DLQ", "$JS.API.INFO",
			"$JS.API.CONSUMER.CREATE.FINX_CALLBACKS.finx-callbacks", "$JS.API.STREAM.UPDATE.FINX_CALLBACKS", "SUB _INBOX_operator.>", "SUB _INBOX_upstream.>",
		}),
		natstest.RoleDownstream: join(everybody, overview, inputs, outputs, books, reading, callbacks, lanes, []string{
			"transactions.sync.requested", "$JS.API.STREAM.MSG.GET.FINX_EVENTS", "$JS.API.STREAM.MSG.GET.FINX_CALLBACKS", "$JS.API.STREAM.INFO.FINX_CALLBACKS", "$JS.API.STREAM.INFO.FINX_DLQ",
			"$JS.API.STREAM.NAMES", "$JS.API.CONSUMER.CREATE.FINX_EVENTS.ledger", "$JS.API.CONSUMER.DELETE.FINX_EVENTS.downstream", "$JS.API.CONSUMER.CREATE.FINX_DLQ.downstream",
			"$JS.API.CONSUMER.MSG.NEXT.FINX_EVENTS.ledger", "SUB _INBOX_connector.>",
		}),
		natstest.RoleOperator: join(everybody, books, lanes, []string{
			"$JS.API.CONSUMER.CREATE.FINX_CALLBACKS.finx-callbacks", "$JS.API.CONSUMER.CREATE.FINX_REQUESTS.finx-connects.user.connect.requested", "$JS.API.CONSUMER.DELETE.FINX_EVENTS.downstream",
			"$JS.API.CONSUMER.CREATE.FINX_EVENTS.downstream", "$JS.API.CONSUMER.MSG.NEXT.FINX_EVENTS.downstream", "$JS.API.CONSUMER.CREATE.FINX_TIMERS.mine", "$JS.API.CONSUMER.CREATE.KV_finx_escrow.mine.>",
			"$KV.finx_control.replica.x", "$KV.finx_control.suspect.x", "$JS.API.STREAM.UPDATE.FINX_DLQ", "SUB _INBOX_connector.>", "SUB _INBOX_downstream.>",
		}),
		natstest.RoleProvisioner: join(everybody, overview, inputs, outputs, books, reading, callbacks, lanes, []string{
			"$JS.API.STREAM.MSG.GET.FINX_CALLBACKS", "$JS.API.DIRECT.GET.FINX_EVENTS", "$KV.finx_control.breaker.finx", "SUB _INBOX_connector.>",
		}),
	}
}

func TestEachRoleIsRefusedWhatIsNotItsOwn(t *testing.T) {
	t.Parallel()
	r := newRoled(t, "", options{memory: true, env: map[string]string{}}, nil)
	before := len(r.seen.messages())
	for role, subjects := range forbidden() {
		nc := r.login(role, r.shipped.Roles[role])
		for _, subject := range subjects {
			wanted := use{user: r.shipped.Roles[role].Public}
			wanted.subject, wanted.subscribed = strings.CutPrefix(subject, "SUB ")
			if wanted.subscribed {
				_, _ = nc.SubscribeSync(wanted.subject) // the refusal comes later
			} else if err := nc.Publish(subject, []byte(`{}`)); err != nil {
				t.Fatal(err)
			}
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
			if !r.wire.wasRefused(wanted) {
				t.Errorf("%s may: %s", role, subject)
			}
		}
	}
	if _, err := nats.Connect(r.url); err == nil {
		t.Error("somebody without a key was let in")
	}
	// The system account is apart: what is published there is in no stream.
	system := r.login(natstest.RoleSystem, r.shipped.Roles[natstest.RoleSystem])
	if err := system.Publish("callback.received", []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	if err := system.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, s := range r.ours() {
		if s.State.Msgs != 0 {
			t.Errorf("%s has %d messages", s.Config.Name, s.State.Msgs)
		}
	}
	if after := len(r.seen.messages()); after != before {
		t.Errorf("%d messages came through", after-before)
	}
}

// TestDoctorApprovesOfTheShippedRights asks doctor about the connector's user and the
// operator's.
func TestDoctorApprovesOfTheShippedRights(t *testing.T) {
	t.Parallel()
	r := newRoled(t, "", options{memory: true, env: map[string]string{}}, nil)
	for role, want := range map[string]string{
		natstest.RoleConnector: "ok    rights of serve", natstest.RoleOperator: "skip  rights of serve",
	} {
		p := launch(t, programs.path(t, "finx-connector"), r.as(role, r.env), "doctor", "--only", "nats,streams")
		if code := p.wait(within); code != 0 || !strings.Contains(p.out.String(), want) {
			t.Errorf("as %s: exit code %d:\n%s", role, code, p.out)
		}
	}
}
