package streams

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

func TestHealthOfATopology(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	topology := Plan(Config{Requests: Limits{MaxAge: time.Hour, MaxBytes: 1 << 20}})
	if found, consumers, errs := topology.Health(t.Context(), js, nil); len(found)+len(consumers)+len(errs) != 0 {
		t.Errorf("of nothing: %v %v %v", found, consumers, errs)
	}
	apply(t, topology, js)
	for range 2 {
		if _, err := js.Publish(t.Context(), events.TypeConnectRequested, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	pull, err := js.Consumer(t.Context(), events.StreamRequests, DurableConnects)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pull.Next(); err != nil {
		t.Fatal(err)
	}
	found, consumers, errs := topology.Health(t.Context(), js, nil)
	if len(errs) != 0 || len(found) != len(topology.streams) || len(consumers) != 5 {
		t.Fatalf("%d streams, %d consumers, %v", len(found), len(consumers), errs)
	}
	requests := found[slices.IndexFunc(found, func(h StreamHealth) bool { return h.Name == events.StreamRequests })]
	if requests.Messages != 2 || requests.MaxAge != time.Hour || requests.MaxBytes != 1<<20 || requests.Replicas != 1 || requests.Oldest.IsZero() ||
		time.Since(requests.At).Abs() > time.Minute || requests.Peers.Leaderless || requests.Cluster != "" {
		t.Errorf("%+v", requests)
	}
	lane := consumers[slices.IndexFunc(consumers, func(h ConsumerHealth) bool { return h.Name == DurableConnects })]
	if lane.Pending != 1 || lane.AckPending != 1 || lane.MaxAckPending != DefaultMaxAckPending || !lane.Oldest.Equal(requests.Oldest) || lane.Paused != 0 || lane.MaxAge != time.Hour {
		t.Errorf("%+v, the oldest is %s", lane, requests.Oldest)
	}
	if _, err := js.PauseConsumer(t.Context(), events.StreamRequests, DurableConnects, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	// What may not be asked hides nothing else.
	refused := errors.New("not this one")
	n := 0
	found, consumers, errs = topology.Health(t.Context(), js, func(ctx context.Context, question func(context.Context) error) error {
		if n++; n == 1 {
			return refused
		}
		return question(ctx)
	})
	if len(found) != len(topology.streams)-1 || len(errs) != 1 || !errors.Is(errs[0], refused) || !strings.Contains(errs[0].Error(), events.StreamRequests) || len(consumers) != 2 {
		t.Errorf("%d streams, %d consumers, %v", len(found), len(consumers), errs)
	}
	_, consumers, _ = topology.Health(t.Context(), js, nil)
	if p := consumers[0].Paused; p < 59*time.Minute || p > time.Hour {
		t.Errorf("paused for %s", p)
	}
}

func TestHealthOfOwnedStreams(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "THEIRS", Subjects: []string{"user.>", "transactions.sync.>"}}); err != nil {
		t.Fatal(err)
	}
	topology := Plan(Config{Owned: Names{Connects: "THEIRS", Erasures: "THEIRS"}})
	found, _, errs := topology.Health(t.Context(), js, nil)
	if len(errs) != 0 || len(found) != 1 || found[0].Name != "THEIRS" {
		t.Errorf("%+v, %v", found, errs)
	}
}

func TestPeersAreSorted(t *testing.T) {
	peers := []*jetstream.PeerInfo{{Name: "c", Current: true}, {Name: "b", Offline: true}, {Name: "a"}, {Name: "d", Current: true, Lag: 7}}
	got := peersOf(&jetstream.ClusterInfo{Name: "x", Leader: "c", Replicas: peers})
	if got.Leaderless || !slices.Equal(got.Offline, []string{"b"}) || !slices.Equal(got.Lagging, []string{"a", "d"}) {
		t.Errorf("%+v", got)
	}
	if got := peersOf(&jetstream.ClusterInfo{Name: "x"}); !got.Leaderless {
		t.Errorf("%+v", got)
	}
	if got := peersOf(nil); got.Leaderless {
		t.Errorf("%+v", got)
	}
}

func TestTheAccount(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	a, err := Plan(Config{}).Account(t.Context(), js)
	if err != nil || !a.Enabled || a.Level < LevelSchedules {
		t.Errorf("%+v, %v", a, err)
	}
	off := natstest.Start(t, natstest.WithOptions(func(o *server.Options) { o.JetStream = false }))
	nc := natstest.JetStream(t, off.URL())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if a, err := Plan(Config{}).Account(ctx, nc); err != nil || a.Enabled {
		t.Errorf("without JetStream: %+v, %v", a, err)
	}
}

func TestServeSubjects(t *testing.T) {
	plain := Plan(Config{}).ServeSubjects()
	for _, want := range []string{
		events.TypeTransactionsFetched, events.TypeSyncRequested, "dlq.callback.received", "$JS.API.CONSUMER.MSG.NEXT.FINX_CALLBACKS.finx-callbacks",
		"$JS.ACK.FINX_TIMERS.finx-due.doctor", "$KV.finx_control.breaker.doctor", "$JS.API.STREAM.MSG.GET.KV_finx_connections",
	} {
		if !slices.Contains(plain, want) {
			t.Errorf("%s is not among %q", want, plain)
		}
	}
	if slices.Contains(plain, events.TypeReplayCompleted) || slices.ContainsFunc(plain, func(s string) bool { return strings.ContainsAny(s, "*>") }) {
		t.Errorf("%q", plain)
	}
	own := Plan(Config{Codec: events.Codec{Prefix: "acme"}, PerConnection: true}).ServeSubjects()
	if !slices.Contains(own, "acme.transactions.fetched.00000000-0000-0000-0000-000000000000") || !slices.Contains(own, "acme.dlq.callback.received") {
		t.Errorf("%q", own)
	}
}
