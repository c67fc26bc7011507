package connectionkv_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/connection/connectionkv/connectionkvtest"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// makeBuckets makes the buckets empty, as `streams apply` would.
func makeBuckets(t *testing.T, js jetstream.JetStream, replicas int) {
	t.Helper()
	makeBucket(t, js, jetstream.KeyValueConfig{Bucket: connectionkv.BucketConnections, History: 1, Replicas: replicas})
	makeBucket(t, js, jetstream.KeyValueConfig{Bucket: connectionkv.BucketLeases, History: 1, Replicas: replicas, LimitMarkerTTL: time.Minute})
}

func makeBucket(t *testing.T, js jetstream.JetStream, c jetstream.KeyValueConfig) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// A cluster on a busy machine calls a peer offline now and then.
	natstest.Eventually(t, 20*time.Second, func() bool {
		_ = js.DeleteKeyValue(ctx, c.Bucket) // left by the test before, or not there
		_, err := js.CreateKeyValue(ctx, c)
		return err == nil
	}, "bucket "+c.Bucket+" made")
	natstest.WaitStreamLeader(t, js, "KV_"+c.Bucket)
}

func newStore(t *testing.T, js jetstream.JetStream) *connectionkv.Store {
	t.Helper()
	s, err := connectionkv.New(connectionkv.Config{JS: js})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStoreKeepsTheContract(t *testing.T) {
	connectionkvtest.Run(t, func(t *testing.T) connectionkvtest.Store {
		js := natstest.JetStream(t, natstest.Start(t).URL()) // each its own: see TestEscrowKeepsTheContract
		makeBuckets(t, js, 1)
		return newStore(t, js)
	})
}

// On a replicated bucket the losers of a race are told so by two different
// codes; the contract's races meet both.
func TestStoreKeepsTheContractOnThreeNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster for every part of the contract")
	}
	js := natstest.JetStream(t, natstest.Cluster(t, 3).URL())
	connectionkvtest.Run(t, func(t *testing.T) connectionkvtest.Store {
		makeBuckets(t, js, 3)
		return newStore(t, js)
	})
}

func TestListGoesOnAfterAnUnreadableRecord(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	makeBuckets(t, js, 1)
	s, ctx := newStore(t, js), t.Context()
	kv, err := js.KeyValue(ctx, connectionkv.BucketConnections)
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{
		"connection.bad1": "not json", "connection.bad2": `{"v":99,"id":"bad2"}`,
		"connection.good": `{"v":1,"id":"good","state":"requested"}`,
	} {
		if _, err := kv.Put(ctx, key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	var seen []string
	err = s.List(ctx, func(r connection.Record) error { seen = append(seen, r.ID); return nil })
	ue, ok := errors.AsType[*connectionkv.UnreadableError](err)
	if !ok || len(ue.IDs) != 2 || !strings.HasPrefix(ue.IDs[0], "bad") {
		t.Errorf("List: %v", err)
	}
	if len(seen) != 1 || seen[0] != "good" {
		t.Errorf("saw %v", seen)
	}
	_, _, err = s.Get(ctx, "bad2")
	if ve, ok := errors.AsType[*connection.VersionError](err); !ok || ve.Got != 99 || fault.Of(err) != fault.WaitUntil || fault.DependencyOf(err) != "" {
		t.Errorf("Get of a newer record: %v", err)
	}
}

// A list that is left half way must not leave the client's goroutine behind
// (goleak looks at the end): more records than the watcher's channel holds.
func TestListLeftHalfWayLeavesNothingBehind(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	makeBuckets(t, js, 1)
	s, ctx := newStore(t, js), t.Context()
	const records = 1000
	for i := range records {
		if _, err := js.PublishAsync(fmt.Sprintf("$KV.%s.connection.c%d", connectionkv.BucketConnections, i),
			fmt.Appendf(nil, `{"v":1,"id":"c%d","state":"requested"}`, i)); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	stop := errors.New("stop")
	if err := s.List(ctx, func(connection.Record) error { return stop }); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	n := 0
	if err := s.List(ctx, func(connection.Record) error { n++; return nil }); err != nil || n != records {
		t.Errorf("listed %d of %d: %v", n, records, err)
	}
}

func TestValuesAreBounded(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	makeBuckets(t, js, 1)
	s, ctx := newStore(t, js), t.Context()
	r := connection.New("c1", "u1", time.Now())
	r.Scope = strings.Repeat("x", connectionkv.DefaultMaxValueBytes)
	_, err := s.Create(ctx, r)
	if fault.Of(err) != fault.GiveUp || fault.ClassOf(err) != fault.Oversize || !strings.Contains(err.Error(), "at most 262144 are stored") {
		t.Errorf("Create: %v", err)
	}
	if _, _, err := s.Get(ctx, "c1"); !errors.Is(err, connectionkv.ErrNotFound) {
		t.Errorf("it was stored all the same: %v", err)
	}
}

func TestIDsThatWouldAddressOtherKeysAreRefused(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	makeBuckets(t, js, 1)
	s, ctx := newStore(t, js), t.Context()
	for _, id := range []string{"", ">", "*", "a.b", "a b", "ü", "../x", strings.Repeat("a", 257)} {
		_, _, getErr := s.Get(ctx, id)
		_, createErr := s.Create(ctx, connection.Record{ID: id, State: connection.Requested})
		_, leaseErr := s.Acquire(ctx, id+".", "me", time.Second)
		for what, err := range map[string]error{
			"Get": getErr, "Create": createErr, "Delete": s.Delete(ctx, id), "BindState": s.BindState(ctx, "st", id), "Acquire": leaseErr,
		} {
			if fault.Of(err) != fault.GiveUp || fault.ClassOf(err) != fault.Malformed {
				t.Errorf("%s(%q): %v", what, id, err)
			}
			if err != nil && len(id) > 2 && what != "Acquire" && strings.Contains(err.Error(), id) {
				t.Errorf("%s(%q): the id, which may be anything, is in the error: %v", what, id, err)
			}
		}
	}
}

func TestCheckNamesTheRemedy(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	s, ctx := newStore(t, js), t.Context()
	for _, want := range []string{"finx_connections: it does not exist", "finx_leases: it does not exist", "finx_leases: it does not allow keys with a TTL"} {
		err := s.Check(ctx)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "streams apply") || fault.DependencyOf(err) != fault.NATS {
			t.Errorf("Check: %v, want %q", err, want)
		}
		bucket := connectionkv.BucketConnections
		if strings.HasPrefix(want, "finx_leases") {
			bucket = connectionkv.BucketLeases
		}
		if _, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: bucket}); err != nil {
			t.Fatal(err)
		}
	}
	makeBuckets(t, js, 1)
	if err := s.Check(ctx); err != nil {
		t.Errorf("Check of what streams apply makes: %v", err)
	}
}

func TestWithoutBucketsEveryCallIsWorthAnotherTry(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	s, ctx := newStore(t, js), t.Context()
	_, _, getErr := s.Get(ctx, "c1")
	_, createErr := s.Create(ctx, connection.New("c1", "u1", time.Now()))
	for what, err := range map[string]error{
		"Get": getErr, "Create": createErr, "List": s.List(ctx, func(connection.Record) error { return nil }),
	} {
		if fault.Of(err) != fault.Retry || fault.DependencyOf(err) != fault.NATS || fault.IsAmbiguous(err) {
			t.Errorf("%s: %v, verdict %v of %q, ambiguous %v", what, err, fault.Of(err), fault.DependencyOf(err), fault.IsAmbiguous(err))
		}
	}
}
