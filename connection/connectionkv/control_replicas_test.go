package connectionkv_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// announce runs until the function it returns is called, or the test ends.
func announce(t *testing.T, c *connectionkv.Control) (leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { c.Announce(ctx) })
	leave = func() { cancel(); wg.Wait() }
	t.Cleanup(leave)
	return leave
}

func wantReplicas(t *testing.T, want int, all ...*connectionkv.Control) {
	t.Helper()
	for _, c := range all {
		natstest.Eventually(t, 30*time.Second, func() bool { return c.Replicas() == want }, "replicas are counted")
	}
}

// lowest samples the number of replicas until stop is called, which returns the
// lowest one that was seen.
func lowest(t *testing.T, c *connectionkv.Control) (stop func() int) {
	t.Helper()
	done, least := make(chan struct{}), c.Replicas()
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				least = min(least, c.Replicas())
			}
		}
	})
	return func() int { close(done); wg.Wait(); return least }
}

func TestAReplicaThatLeavesTakesItsKeyAway(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	makeControl(t, js, 1)
	ctx := t.Context()
	kv, err := js.KeyValue(ctx, connectionkv.BucketControl)
	if err != nil {
		t.Fatal(err)
	}
	const key = "replica.my_host-local-7-AB"
	has := func() bool { _, err := kv.Get(ctx, key); return err == nil }
	open := func() *connectionkv.Control {
		return openControl(t, connectionkv.ControlConfig{JS: js, Holder: "my_host.local/7 AB"})
	}
	leave := announce(t, open())
	natstest.Eventually(t, 10*time.Second, has, "the key is there")
	leave()
	if has() {
		t.Error("the key has stayed")
	}

	// A process that was started again under the same name keeps its key, whenever
	// the old one has done with its work.
	leave = announce(t, open())
	natstest.Eventually(t, 10*time.Second, has, "the key is there")
	before, err := kv.Get(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	// The old one is not renewed any more, or it would be the newest again.
	slow, err := connectionkv.NewControl(connectionkv.ControlConfig{JS: js, Holder: "my_host.local/7 AB", ReplicaTTL: time.Hour, ReplicaRenew: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	leaveSlow := announce(t, slow)
	natstest.Eventually(t, 10*time.Second, func() bool {
		now, err := kv.Get(ctx, key)
		return err == nil && now.Revision() > before.Revision() && string(now.Value()) != string(before.Value())
	}, "the second has announced itself")
	natstest.Eventually(t, 10*time.Second, func() bool {
		now, err := kv.Get(ctx, key)
		return err == nil && string(now.Value()) == string(before.Value())
	}, "the first one has the key again")
	leaveSlow()
	if !has() {
		t.Error("the key of another was taken away")
	}
	leave()
	if has() {
		t.Error("the key has stayed")
	}
}

// A broker that was away for longer than a TTL comes back with no replica's key.
// If each then took itself for the only one, together they would use the budget
// of finX as many times. Here the others come back later than the one that counts.
func TestAnOutageDoesNotLowerTheNumberOfReplicas(t *testing.T) {
	server := natstest.Start(t)
	makeControl(t, natstest.JetStream(t, server.URL()), 1)
	const ttl = 4 * time.Second
	open := func(holder string) (c *connectionkv.Control, kill func()) {
		js := natstest.JetStream(t, server.URL())
		c = openControl(t, connectionkv.ControlConfig{JS: js, Holder: holder, Timeout: time.Second, ReplicaTTL: ttl, ReplicaRenew: testRenew})
		leave := announce(t, c)
		return c, func() { js.Conn().Close(); leave() }
	}
	a, _ := open("a")
	_, killB := open("b")
	_, killC := open("c")
	wantReplicas(t, 3, a)

	stop := lowest(t, a)
	server.Stop()
	killB()
	killC()
	outage := time.NewTimer(ttl + time.Second)
	<-outage.C
	server.Restart()
	operator := natstest.JetStream(t, server.URL())
	natstest.Eventually(t, 20*time.Second, func() bool {
		return len(consumers(t, operator)) == 1 && len(keys(t, operator)) == 1
	}, "it counts again, and its own key is all there is")
	b, _ := open("b")
	c, _ := open("c")
	wantReplicas(t, 3, b, c) // which know of nothing before
	if least := stop(); least != 3 {
		t.Errorf("it was down to %d", least)
	}
}

// After an outage, too, who does not come back is gone after a TTL.
func TestWhoDoesNotComeBackIsGone(t *testing.T) {
	server := natstest.Start(t)
	makeControl(t, natstest.JetStream(t, server.URL()), 1)
	open := func(holder string) (*connectionkv.Control, jetstream.JetStream) {
		js := natstest.JetStream(t, server.URL())
		c := openControl(t, connectionkv.ControlConfig{JS: js, Holder: holder, Timeout: time.Second, ReplicaTTL: 2 * time.Second, ReplicaRenew: testRenew})
		announce(t, c)
		return c, js
	}
	a, _ := open("a")
	_, b := open("b")
	wantReplicas(t, 2, a)
	server.Stop()
	b.Conn().Close()
	server.Restart()
	wantReplicas(t, 1, a)
}

// keys are those that have a value.
func keys(t *testing.T, js jetstream.JetStream) []string {
	t.Helper()
	kv, err := js.KeyValue(t.Context(), connectionkv.BucketControl)
	if err != nil {
		t.Fatal(err)
	}
	all, err := kv.Keys(t.Context())
	if err != nil && !errors.Is(err, jetstream.ErrNoKeysFound) {
		t.Fatal(err)
	}
	return all
}

func TestReplicasWithoutABucket(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	c := openControl(t, connectionkv.ControlConfig{JS: js})
	leave := announce(t, c)
	if n := c.Replicas(); n != 1 {
		t.Errorf("%d replicas", n)
	}
	makeControl(t, js, 1)
	natstest.Eventually(t, 10*time.Second, func() bool {
		_, revision, err := c.Load(t.Context(), "replica.a")
		return err == nil && revision > 0
	}, "it announces itself once it can")
	leave()
	if _, revision, err := c.Load(t.Context(), "replica.a"); revision != 0 || err != nil {
		t.Errorf("revision %d, %v", revision, err)
	}
}

// A dead leader is an outage of seconds: states are saved again after it, watches
// tell of them, and nobody counts fewer replicas.
func TestControlGoesOnAfterTheLeaderDied(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for an election")
	}
	cluster := natstest.Cluster(t, 3)
	makeControl(t, natstest.JetStream(t, cluster.URL()), 3)
	var all []*connectionkv.Control
	var told []*told
	for _, holder := range []string{"a", "b", "c"} {
		c := openControl(t, connectionkv.ControlConfig{
			JS: natstest.JetStream(t, cluster.URL()), Holder: holder, Timeout: time.Second,
			ReplicaTTL: connectionkv.DefaultReplicaTTL, ReplicaRenew: time.Second,
		})
		all, told = append(all, c), append(told, follow(t, c))
		announce(t, c)
	}
	wantReplicas(t, 3, all...)
	if err := save(t.Context(), all[0], "open"); err != nil {
		t.Fatal(err)
	}
	for _, s := range told {
		s.wants(t, 20*time.Second, "open")
	}
	stop := lowest(t, all[0])
	died := time.Now()
	cluster.Kill(cluster.StreamLeader("KV_" + connectionkv.BucketControl))
	natstest.Eventually(t, 60*time.Second, func() bool { return save(t.Context(), all[0], "closed") == nil }, "the state is saved")
	saved := time.Since(died)
	for _, s := range told {
		s.wants(t, 30*time.Second, "closed")
	}
	t.Logf("saved after %s, told everywhere after %s", saved, time.Since(died))
	if least := stop(); least != 3 {
		t.Errorf("it was down to %d replicas", least)
	}
}
