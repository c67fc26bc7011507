package streams

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

func diff(t *testing.T, topology Topology, js jetstream.JetStream) []Change {
	t.Helper()
	changes, err := topology.Diff(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

func apply(t *testing.T, topology Topology, js jetstream.JetStream) {
	t.Helper()
	if err := topology.Apply(t.Context(), js, diff(t, topology, js)); err != nil {
		t.Fatal(err)
	}
}

func lines(changes []Change) string {
	var b bytes.Buffer
	_ = WriteText(&b, changes)
	return b.String()
}

func TestApplyTwiceOnASingleServer(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	for _, prefix := range []string{"", "acme"} {
		topology := Plan(Config{Codec: events.Codec{Prefix: prefix}, Events: Limits{MaxAge: 24 * time.Hour, MaxBytes: 1 << 30}})
		if before := diff(t, topology, js); len(before) == 0 {
			t.Fatal("nothing to do on an empty server")
		}
		apply(t, topology, js)
		after := diff(t, topology, js)
		if prefix == "" && len(after) != 0 {
			t.Fatalf("second diff:\n%s", lines(after))
		}
		if prefix != "" && len(Pending(after)) != 0 { // the old filters stay until a human takes them away
			t.Fatalf("second diff:\n%s", lines(after))
		}
	}
	info := mustStream(t, js, events.StreamRequests)
	if info.Config.Replicas != 1 || info.Config.Duplicates != DefaultDuplicates || info.Config.Discard != jetstream.DiscardNew {
		t.Errorf("requests: %+v", info.Config)
	}
}

func mustStream(t *testing.T, js jetstream.JetStream, name string) *jetstream.StreamInfo {
	t.Helper()
	s, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo()
}

func TestApplyOnAClusterOfThree(t *testing.T) {
	cluster := natstest.Cluster(t, 3)
	// Through one address only: the other two are learnt from the broker.
	js := natstest.JetStream(t, cluster.Nodes[0].URL())
	natstest.Eventually(t, 10*time.Second, func() bool { return len(js.Conn().Servers()) >= 3 }, "client knows three servers")
	topology := Plan(Config{})
	apply(t, topology, js)
	if after := diff(t, topology, js); len(after) != 0 {
		t.Fatalf("second diff:\n%s", lines(after))
	}
	for _, s := range topology.streams {
		if got := mustStream(t, js, s.want.Name).Config.Replicas; got != 3 {
			t.Errorf("%s has %d replicas", s.name, got)
		}
	}
	// The setting wins, but what exists with more copies keeps them.
	if changes := diff(t, Plan(Config{Replicas: 1}), js); len(changes) != 0 {
		t.Errorf("lowering replicas: %s", lines(changes))
	}
}

func TestReplicasRaisedOnACluster(t *testing.T) {
	cluster := natstest.Cluster(t, 3)
	js := natstest.JetStream(t, cluster.URL())
	apply(t, Plan(Config{Replicas: 1}), js)
	topology := Plan(Config{})
	changes := diff(t, topology, js)
	if len(changes) != len(topology.streams) {
		t.Fatalf("want one change a stream:\n%s", lines(changes))
	}
	apply(t, topology, js)
	if after := diff(t, topology, js); len(after) != 0 {
		t.Fatalf("second diff:\n%s", lines(after))
	}
}

// A replica of a compressed stream does not come back after a crash; one copy
// alone may be compressed by whoever likes.
func TestCompressionOfReplicasIsTakenAway(t *testing.T) {
	for url, want := range map[string]jetstream.StoreCompression{
		natstest.Cluster(t, 3).URL(): jetstream.NoCompression,
		natstest.Start(t).URL():      jetstream.S2Compression,
	} {
		js, topology := natstest.JetStream(t, url), Plan(Config{})
		apply(t, topology, js)
		cfg := mustStream(t, js, events.StreamEvents).Config
		cfg.Compression = jetstream.S2Compression
		mustUpdate(t, js, cfg)
		apply(t, topology, js)
		got := mustStream(t, js, events.StreamEvents).Config
		if got.Compression != want {
			t.Errorf("with %d replicas the compression is %s, want %s", got.Replicas, got.Compression, want)
		}
		if after := diff(t, topology, js); len(after) != 0 {
			t.Errorf("second diff:\n%s", lines(after))
		}
	}
}

func TestTwoServersGetOneReplica(t *testing.T) {
	js := natstest.JetStream(t, natstest.Cluster(t, 2).URL())
	topology := Plan(Config{})
	if text := lines(diff(t, topology, js)); !strings.Contains(text, "1 if the cluster cannot place them") {
		t.Errorf("the diff does not say what a small cluster gets:\n%s", text)
	}
	apply(t, topology, js)
	if after := diff(t, topology, js); len(after) != 0 {
		t.Fatalf("second diff:\n%s", lines(after))
	}
	if got := mustStream(t, js, events.StreamEvents).Config.Replicas; got != 1 {
		t.Errorf("%d replicas on a cluster of two", got)
	}
}

func TestRacingAppliesComeToTheSameEnd(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	topology := Plan(Config{})
	changes := diff(t, topology, js)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := topology.Apply(t.Context(), js, changes); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if after := diff(t, topology, js); len(after) != 0 {
		t.Fatalf("after four at once:\n%s", lines(after))
	}
}

func TestApplyKeepsWhatTheOperatorRaised(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	cfg := Config{Events: Limits{MaxAge: 24 * time.Hour, MaxBytes: 1 << 30}}
	apply(t, Plan(cfg), js)
	info := mustStream(t, js, events.StreamEvents).Config
	info.MaxAge, info.MaxBytes, info.Duplicates = 48*time.Hour, 2<<30, time.Hour
	info.Subjects = append(info.Subjects, "team.extra")
	mustUpdate(t, js, info)
	c, err := js.Consumer(t.Context(), events.StreamRequests, DurableSyncs)
	if err != nil {
		t.Fatal(err)
	}
	cc := c.CachedInfo().Config
	cc.AckWait, cc.MaxAckPending = 5*time.Minute, 20_000
	if _, err := js.UpdateConsumer(t.Context(), events.StreamRequests, cc); err != nil {
		t.Fatal(err)
	}
	if changes := diff(t, Plan(cfg), js); len(changes) != 0 {
		t.Errorf("the operator's own settings are drift:\n%s", lines(changes))
	}
}

func mustUpdate(t *testing.T, js jetstream.JetStream, cfg jetstream.StreamConfig) {
	t.Helper()
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
}

func TestDriftIsAddedToOrLeft(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	create := func(cfg jetstream.StreamConfig) {
		if _, err := js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	create(jetstream.StreamConfig{
		Name: events.StreamRequests, Subjects: []string{"user.connect.requested.eu"}, Discard: jetstream.DiscardOld,
		DenyDelete: true, MaxMsgSize: 1000,
	})
	create(jetstream.StreamConfig{Name: events.StreamCallbacks, Subjects: []string{"callback.received"}, Retention: jetstream.WorkQueuePolicy})
	create(jetstream.StreamConfig{Name: events.StreamTimers, Subjects: []string{"finx.timer.>"}, Discard: jetstream.DiscardNew})
	if _, err := js.CreateConsumer(t.Context(), events.StreamRequests, jetstream.ConsumerConfig{
		Durable: DurableConnects, AckPolicy: jetstream.AckAllPolicy, AckWait: time.Second, MaxDeliver: 5, MaxAckPending: 1,
		FilterSubject: "user.connect.requested.eu", BackOff: []time.Duration{time.Second}, InactiveThreshold: time.Hour,
	}); err != nil {
		t.Fatal(err)
	}
	topology := Plan(Config{})
	before := lines(diff(t, topology, js))
	for _, want := range []string{
		"update  stream FINX_REQUESTS: subjects: is user.connect.requested.eu, want user.connect.requested ",
		"update  stream FINX_REQUESTS: max_msg_size: is 1000, want unlimited",
		"update  stream FINX_REQUESTS: duplicate_window: is 2m0s, want 30m0s",
		"manual  stream FINX_REQUESTS: discard: is DiscardOld, want DiscardNew; remedy: ",
		"manual  stream FINX_REQUESTS: deny_delete: is on, want off; remedy: ",
		"manual  stream FINX_CALLBACKS: retention: is WorkQueue, want Limits; remedy: ",
		"manual  stream FINX_TIMERS: discard: is DiscardNew, want DiscardOld; remedy: ",
		"update  stream FINX_TIMERS: allow_msg_ttl: is off, want on",
		"update  consumer finx-connects on FINX_REQUESTS: max_deliver: is 5, want unlimited",
		"update  consumer finx-connects on FINX_REQUESTS: max_ack_pending: is 1, want 5000",
		"update  consumer finx-connects on FINX_REQUESTS: inactive_threshold: is 1h0m0s, want none",
		"manual  consumer finx-connects on FINX_REQUESTS: ack_policy: is AckAll, want AckExplicit; remedy: ",
		"manual  consumer finx-connects on FINX_REQUESTS: backoff: is [1s], want none; remedy: ",
		"create  consumer finx-syncs on FINX_REQUESTS: filter transactions.sync.requested transactions.sync.requested.>",
		"create  bucket finx_leases: subjects $KV.finx_leases.>; replicas 1",
		"create  object store finx_oversize",
	} {
		if !strings.Contains(before, want) {
			t.Errorf("the diff lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(before)
	}
	apply(t, topology, js)
	after := diff(t, topology, js)
	if len(Pending(after)) != 0 {
		t.Errorf("still pending:\n%s", lines(Pending(after)))
	}
	if len(Left(after)) != len(Left(diff(t, topology, js))) || len(Left(after)) == 0 {
		t.Errorf("what apply leaves must go on showing:\n%s", lines(after))
	}
}

func TestDiffWithoutPermissionSaysWhat(t *testing.T) {
	srv := natstest.Start(t, natstest.WithOptions(func(o *server.Options) {
		o.Users = []*server.User{{Username: "u", Password: "p", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: []string{"nothing"}},
		}}}
	}))
	js, err := jetstream.New(natstest.Connect(t, srv.URL(), nats.UserInfo("u", "p"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := Plan(Config{}).Diff(ctx, js); err == nil || !strings.Contains(err.Error(), "reading stream FINX_REQUESTS") {
		t.Errorf("error %v", err)
	}
}

func TestWriteJSON(t *testing.T) {
	var b bytes.Buffer
	if err := WriteJSON(&b, nil); err != nil || strings.TrimSpace(b.String()) != "[]" {
		t.Errorf("no changes are %q, %v", b.String(), err)
	}
	b.Reset()
	in := []Change{{Action: Manual, Kind: KindStream, Name: "S", Field: "subjects", Is: "a.>", Want: "b", Remedy: "ask"}}
	if err := WriteJSON(&b, in); err != nil {
		t.Fatal(err)
	}
	var out []Change
	if err := json.Unmarshal(b.Bytes(), &out); err != nil || !reflect.DeepEqual(in, out) || !strings.Contains(b.String(), "a.>") {
		t.Errorf("%s: %v", b.String(), err)
	}
}
