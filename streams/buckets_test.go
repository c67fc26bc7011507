package streams

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/internal/natstest"
)

// TestBucketsAreWhatTheClientWouldMake compares our plain stream configurations
// with what the client makes of its own bucket types.
func TestBucketsAreWhatTheClientWouldMake(t *testing.T) {
	ours := natstest.JetStream(t, natstest.Start(t).URL())
	apply(t, Plan(Config{}), ours)
	theirs := natstest.JetStream(t, natstest.Start(t).URL())
	ctx := t.Context()
	for _, bucket := range []string{BucketConnections, BucketLeases, BucketControl, BucketEscrow} {
		cfg := jetstream.KeyValueConfig{Bucket: bucket, History: 1, LimitMarkerTTL: markerTTL}
		if bucket == BucketConnections {
			cfg.LimitMarkerTTL = 0
		}
		if _, err := theirs.CreateKeyValue(ctx, cfg); err != nil {
			t.Fatal(err)
		}
		if _, err := ours.KeyValue(ctx, bucket); err != nil {
			t.Errorf("%s is no bucket to the client: %v", bucket, err)
		}
	}
	if _, err := theirs.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: ObjectsOversize}); err != nil {
		t.Fatal(err)
	}
	for _, s := range (Config{}).withDefaults().buckets() {
		a, b := mustStream(t, ours, s.want.Name).Config, mustStream(t, theirs, s.want.Name).Config
		a.Description, a.Metadata, b.Metadata = "", nil, nil
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s\nours   %+v\ntheirs %+v", s.name, a, b)
		}
	}
}

func TestLeaseKeysExpire(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	apply(t, Plan(Config{}), js)
	kv, err := js.KeyValue(t.Context(), BucketLeases)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Create(t.Context(), "job", []byte("me"), jetstream.KeyTTL(time.Second)); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, 10*time.Second, func() bool {
		_, err := kv.Get(t.Context(), "job")
		return err != nil
	}, "lease expired")
}

// TestBucketsOfTheVersionBeforeAreUpgraded: two of them knew no TTL. What is in
// the escrow may be somebody's only tokens.
func TestBucketsOfTheVersionBeforeAreUpgraded(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) (url string, replicas int){
		"single server": func(t *testing.T) (string, int) { t.Helper(); return natstest.Start(t).URL(), 1 },
		"cluster":       func(t *testing.T) (string, int) { t.Helper(); return natstest.Cluster(t, 3).URL(), 3 },
	} {
		t.Run(name, func(t *testing.T) {
			url, replicas := start(t)
			js, topology := natstest.JetStream(t, url), Plan(Config{Replicas: replicas})
			for _, bucket := range []string{BucketEscrow, BucketControl} {
				t.Run(bucket, func(t *testing.T) { upgradeBucket(t, js, bucket, topology, replicas) })
			}
		})
	}
}

func upgradeBucket(t *testing.T, js jetstream.JetStream, bucket string, topology Topology, replicas int) {
	t.Helper()
	ctx := t.Context()
	_ = js.DeleteKeyValue(ctx, bucket) // made new by the upgrade of the other one
	before := keyValue(bucket, "finx-connector: as it was")
	before.Replicas = replicas
	if _, err := js.CreateStream(ctx, before); err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(ctx, bucket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(ctx, "kept", []byte("value")); err != nil {
		t.Fatal(err)
	}
	if err := kv.Purge(ctx, "kept", jetstream.PurgeTTL(time.Second)); err == nil {
		t.Fatal("the old bucket takes a TTL: there is nothing to upgrade")
	}
	if text := lines(diff(t, topology, js)); !strings.Contains(text, "update  bucket "+bucket+": allow_msg_ttl: is off, want on") ||
		!strings.Contains(text, "update  bucket "+bucket+": subject_delete_marker_ttl: is 0s, want 1m0s") {
		t.Errorf("the diff does not announce it:\n%s", text)
	}
	apply(t, topology, js)
	if after := diff(t, topology, js); len(after) != 0 {
		t.Errorf("second diff:\n%s", lines(after))
	}
	if e, err := kv.Get(ctx, "kept"); err != nil || string(e.Value()) != "value" {
		t.Fatalf("what was in it: %v", err)
	}
	if err := kv.Purge(ctx, "kept", jetstream.PurgeTTL(time.Second)); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, 10*time.Second, func() bool { return mustStream(t, js, "KV_"+bucket).State.Msgs == 0 }, "the marker is gone")
}
