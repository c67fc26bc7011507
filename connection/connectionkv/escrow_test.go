package connectionkv_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/connection/connectionkv/connectionkvtest"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// escrow makes the bucket empty, as `streams apply` would, and opens it.
func escrow(t *testing.T, js jetstream.JetStream, replicas int) *connectionkv.Escrow {
	t.Helper()
	makeBucket(t, js, jetstream.KeyValueConfig{Bucket: connectionkv.BucketEscrow, History: 1, Replicas: replicas, LimitMarkerTTL: time.Minute})
	return openEscrow(t, js, 0)
}

func openEscrow(t *testing.T, js jetstream.JetStream, timeout time.Duration) *connectionkv.Escrow {
	t.Helper()
	e, err := connectionkv.NewEscrow(connectionkv.Config{JS: js, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestEscrowKeepsTheContract(t *testing.T) {
	// A server each: one that deletes a bucket and makes it again under the same
	// name was seen to answer the first read with what had been there before.
	connectionkvtest.RunEscrow(t, func(t *testing.T) connectionkvtest.Bucket {
		return escrow(t, natstest.JetStream(t, natstest.Start(t).URL()), 1)
	})
}

func TestEscrowKeepsTheContractOnThreeNodes(t *testing.T) {
	js := natstest.JetStream(t, natstest.Cluster(t, 3).URL())
	connectionkvtest.RunEscrow(t, func(t *testing.T) connectionkvtest.Bucket {
		e := escrow(t, js, 3)
		natstest.Eventually(t, 10*time.Second, func() bool { // as above: what was there before is gone
			keys, err := e.Keys(t.Context())
			_, found, getErr := e.Get(t.Context(), connectionkvtest.EscrowKey(1))
			return err == nil && getErr == nil && !found && len(keys) == 0
		}, "an empty bucket")
		return e
	})
}

func messages(t *testing.T, js jetstream.JetStream) uint64 {
	t.Helper()
	s, err := js.Stream(t.Context(), "KV_"+connectionkv.BucketEscrow)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

func TestDeletedAnswersLeaveNothing(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	e, ctx := escrow(t, js, 1), t.Context()
	e.SetMarkerTTL(time.Second)
	key := connectionkvtest.EscrowKey(1)
	if err := e.Put(ctx, key, []byte("sealed")); err != nil {
		t.Fatal(err)
	}
	if err := e.Delete(ctx, key); err != nil {
		t.Fatal(err)
	}
	if n := messages(t, js); n != 1 {
		t.Fatalf("%d messages, want the marker", n)
	}
	if keys, err := e.Keys(ctx); len(keys) != 0 || err != nil {
		t.Errorf("a marker counts as a value: %q, %v", keys, err)
	}
	natstest.Eventually(t, 20*time.Second, func() bool { return messages(t, js) == 0 }, "the marker has gone, and no marker of it was left")
}

func TestKeysOfAFullEscrow(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	e, ctx := escrow(t, js, 1), t.Context()
	const values = 2000
	for n := range values {
		if _, err := js.PublishAsync("$KV."+connectionkv.BucketEscrow+"."+connectionkvtest.EscrowKey(n), bytes.Repeat([]byte("x"), 8<<10)); err != nil {
			t.Fatal(err)
		}
	}
	for _, other := range []string{"notes", "a.b.c"} { // somebody's own, which is left alone
		if _, err := js.PublishAsync("$KV."+connectionkv.BucketEscrow+"."+other, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	started := time.Now()
	keys, err := e.Keys(ctx)
	if err != nil || len(keys) != values {
		t.Fatalf("%d keys: %v", len(keys), err)
	}
	t.Logf("%d keys of 8 KiB in %s", len(keys), time.Since(started))
	for _, key := range keys {
		if strings.Count(key, ".") != 1 {
			t.Errorf("a stranger: %q", key)
		}
	}
}

func TestEscrowAndLostAnswers(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	escrow(t, js, 1)
	w := &wire{JetStream: js, codes: map[jetstream.ErrorCode]int{}}
	e, ctx, key := openEscrow(t, w, 0), t.Context(), connectionkvtest.EscrowKey(1)
	wantAmbiguous := func(what string, err error) {
		t.Helper()
		if fault.Of(err) != fault.Retry || !fault.IsAmbiguous(err) || fault.DependencyOf(err) != fault.NATS {
			t.Errorf("%s: %v, ambiguous %v", what, err, fault.IsAmbiguous(err))
		}
	}
	w.hook = requestLost
	wantAmbiguous("Put", e.Put(ctx, key, []byte("one")))
	w.hook = answerLost
	if err := e.Put(ctx, key, []byte("one")); err != nil {
		t.Errorf("Put whose answer was lost: %v", err)
	}
	w.hook = requestLost
	wantAmbiguous("Put of another", e.Put(ctx, key, []byte("two")))
	w.hook = requestLost
	wantAmbiguous("Delete", e.Delete(ctx, key))
	if got, found, err := e.Get(ctx, key); string(got) != "one" || !found || err != nil {
		t.Errorf("Get: %q, %v", got, err)
	}
	w.hook = answerLost
	if err := e.Delete(ctx, key); err != nil {
		t.Errorf("Delete whose answer was lost: %v", err)
	}
	if _, found, err := e.Get(ctx, key); found || err != nil {
		t.Errorf("Get: found %t, %v", found, err)
	}
}

// Without a majority nothing is stored and the caller hears of it in time; once
// a leader is elected, calling Put again is all it takes.
func TestPutGoesOnAfterAnElection(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for an election")
	}
	cluster := natstest.Cluster(t, 3)
	js := natstest.JetStream(t, cluster.URL())
	escrow(t, js, 3)
	e, ctx := openEscrow(t, js, time.Second), t.Context()
	before, after := connectionkvtest.EscrowKey(1), connectionkvtest.EscrowKey(2)
	if err := e.Put(ctx, before, []byte("before")); err != nil {
		t.Fatal(err)
	}
	put := func() error {
		started := time.Now()
		err := e.Put(ctx, after, []byte("after"))
		if took := time.Since(started); took > 5*time.Second {
			t.Errorf("a call took %s", took)
		}
		if err != nil && (fault.Of(err) != fault.Retry || fault.DependencyOf(err) != fault.NATS) {
			t.Fatalf("during the outage: %v, verdict %v of %q", err, fault.Of(err), fault.DependencyOf(err))
		}
		return err
	}
	leader := cluster.StreamLeader("KV_" + connectionkv.BucketEscrow)
	other := (leader + 1) % 3
	cluster.Kill(leader)
	cluster.Kill(other)
	if put() == nil {
		t.Error("one of three nodes has stored it alone")
	}
	cluster.Restart(other)
	natstest.Eventually(t, 60*time.Second, func() bool { return put() == nil }, "the put goes through")
	for key, want := range map[string]string{before: "before", after: "after"} {
		natstest.Eventually(t, 30*time.Second, func() bool {
			got, found, err := e.Get(ctx, key)
			return string(got) == want && found && err == nil
		}, "the leader has "+want)
	}
	natstest.Eventually(t, 30*time.Second, func() bool {
		keys, err := e.Keys(ctx)
		return len(keys) == 2 && err == nil
	}, "both keys are listed")
}

// A broker that is there and does not answer must not hold a caller who has
// tokens in hand.
func TestEscrowCallsEndOnASilentBroker(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the real server")
	}
	p := natstest.ExternalProcess(t)
	js := natstest.JetStream(t, p.URL())
	escrow(t, js, 1)
	e, ctx := openEscrow(t, js, 200*time.Millisecond), t.Context()
	key := connectionkvtest.EscrowKey(1)
	if err := e.Put(ctx, key, []byte("x")); err != nil {
		t.Fatal(err)
	}
	p.Pause()
	natstest.Eventually(t, 20*time.Second, func() bool { return js.Conn().FlushTimeout(200*time.Millisecond) != nil }, "the signal has come through")
	for what, call := range map[string]func() error{
		"Put":    func() error { return e.Put(ctx, key, []byte("y")) },
		"Get":    func() error { _, _, err := e.Get(ctx, key); return err },
		"Delete": func() error { return e.Delete(ctx, key) },
		"Keys":   func() error { _, err := e.Keys(ctx); return err },
	} {
		started := time.Now()
		err := call()
		if took := time.Since(started); took > 4*time.Second || fault.Of(err) != fault.Retry || fault.DependencyOf(err) != fault.NATS {
			t.Errorf("%s: %s, %v", what, took, err)
		}
	}
	p.Resume()
	natstest.Eventually(t, 20*time.Second, func() bool { return e.Put(ctx, key, []byte("z")) == nil }, "it takes values again")
}

func TestEscrowCheckNamesTheRemedy(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	e, ctx, key := openEscrow(t, js, 0), t.Context(), connectionkvtest.EscrowKey(1)
	wantCheck := func(want string) {
		t.Helper()
		if err := e.Check(ctx); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "streams apply") || fault.DependencyOf(err) != fault.NATS {
			t.Errorf("Check: %v, want %q", err, want)
		}
	}
	wantRetry := func(what string, err error) {
		t.Helper()
		if fault.Of(err) != fault.Retry || fault.DependencyOf(err) != fault.NATS || fault.IsAmbiguous(err) {
			t.Errorf("%s: %v, verdict %v of %q", what, err, fault.Of(err), fault.DependencyOf(err))
		}
	}
	wantCheck("finx_escrow: it does not exist")
	_, _, getErr := e.Get(ctx, key)
	_, keysErr := e.Keys(ctx)
	wantRetry("Put", e.Put(ctx, key, []byte("x")))
	wantRetry("Get", getErr)
	wantRetry("Delete", e.Delete(ctx, key))
	wantRetry("Keys", keysErr)

	if _, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: connectionkv.BucketEscrow}); err != nil {
		t.Fatal(err)
	}
	wantCheck("finx_escrow: it does not allow keys with a TTL")
	if err := e.Put(ctx, key, []byte("x")); err != nil { // what must not be lost is stored all the same
		t.Errorf("Put: %v", err)
	}
	wantRetry("Delete", e.Delete(ctx, key))

	if err := escrow(t, js, 1).Check(ctx); err != nil {
		t.Errorf("Check of what streams apply makes: %v", err)
	}
}

func TestEscrowErrorsNameNoKey(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	e := openEscrow(t, js, 0)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, sum, _ := strings.Cut(connectionkvtest.EscrowKey(1), ".")
	for _, err := range []error{e.Put(gone, connectionkvtest.EscrowKey(1), []byte("sealed-value")), e.Delete(gone, connectionkvtest.EscrowKey(1))} {
		if text := fmt.Sprint(err); err == nil || strings.Contains(text, sum) || strings.Contains(text, "sealed-value") {
			t.Errorf("error %q", text)
		}
	}
}
