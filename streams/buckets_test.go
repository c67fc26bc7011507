package streams

import (
	"reflect"
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
		cfg := jetstream.KeyValueConfig{Bucket: bucket, History: 1}
		if bucket == BucketLeases {
			cfg.LimitMarkerTTL = leaseMarkerTTL
		}
		if _, err := theirs.CreateKeyValue(ctx, cfg); err != nil {
			t.Fatal(err)
		}
		if _, err := ours.KeyValue(ctx, bucket); err != nil {
			t.Errorf("%s is no bucket to the client: %v", bucket, err)
		}
	}
	if _, err := theirs.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: ObjectsOversize, Compression: true}); err != nil {
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
