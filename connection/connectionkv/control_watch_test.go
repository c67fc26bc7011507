package connectionkv_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

const watched = "breaker.finx"

// told is what a watch said, "-" for no value.
type told struct {
	mu     sync.Mutex
	values []string
}

func (s *told) each(value []byte, _ uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if value == nil {
		value = []byte("-")
	}
	s.values = append(s.values, string(value))
}

func (s *told) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.values) == 0 {
		return ""
	}
	return s.values[len(s.values)-1]
}

func (s *told) wants(t *testing.T, within time.Duration, last string) {
	t.Helper()
	natstest.Eventually(t, within, func() bool { return s.last() == last }, "the watch tells "+last)
}

// watch runs one Watch, whose end is told.
func watch(t *testing.T, c *connectionkv.Control) (*told, <-chan error) {
	t.Helper()
	s, ended := &told{}, make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { ended <- c.Watch(ctx, watched, s.each) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return s, ended
}

// follow watches again whenever the watch ends, as a guard does.
func follow(t *testing.T, c *connectionkv.Control) *told {
	t.Helper()
	s := &told{}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if err := c.Watch(ctx, watched, s.each); err != nil && (fault.Of(err) != fault.Retry || fault.DependencyOf(err) != fault.NATS) {
				t.Errorf("Watch: %v, verdict %v of %q", err, fault.Of(err), fault.DependencyOf(err))
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return s
}

// wantEnd waits for the end of a watch: soon, and for the reason given.
func wantEnd(t *testing.T, ended <-chan error, reason string) {
	t.Helper()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), reason) || fault.Of(err) != fault.Retry || fault.DependencyOf(err) != fault.NATS {
			t.Errorf("Watch: %v, want %s", err, reason)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("the watch is dead and does not say so, want %s", reason)
	}
}

// save writes value over whatever there is.
func save(ctx context.Context, c *connectionkv.Control, value string) error {
	_, revision, err := c.Load(ctx, watched)
	if err == nil {
		_, err = c.Save(ctx, watched, []byte(value), revision)
	}
	return err
}

func startWatch(t *testing.T) (js jetstream.JetStream, c *connectionkv.Control, s *told, ended <-chan error) {
	t.Helper()
	js = natstest.JetStream(t, natstest.Start(t).URL())
	makeControl(t, js, 1)
	c = openControl(t, connectionkv.ControlConfig{JS: js})
	if err := save(t.Context(), c, "open"); err != nil {
		t.Fatal(err)
	}
	s, ended = watch(t, c)
	s.wants(t, 10*time.Second, "open")
	return js, c, s, ended
}

func TestAWatchWithoutABucketEnds(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	_, ended := watch(t, openControl(t, connectionkv.ControlConfig{JS: js}))
	wantEnd(t, ended, "stream not found")
}

func TestAWatchEndsWithItsBucket(t *testing.T) {
	js, c, _, ended := startWatch(t)
	if err := js.DeleteKeyValue(t.Context(), connectionkv.BucketControl); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, ended, "no heartbeat within 600ms")
	makeControl(t, js, 1)
	s := follow(t, c)
	natstest.Eventually(t, 10*time.Second, func() bool { return save(t.Context(), c, "anew") == nil }, "it takes a state")
	s.wants(t, 10*time.Second, "anew")
}

func consumers(t *testing.T, js jetstream.JetStream) []*jetstream.ConsumerInfo {
	t.Helper()
	stream, err := js.Stream(t.Context(), "KV_"+connectionkv.BucketControl)
	if err != nil {
		t.Fatal(err)
	}
	var all []*jetstream.ConsumerInfo
	for info := range stream.ListConsumers(t.Context()).Info() {
		all = append(all, info)
	}
	return all
}

func TestAWatchEndsWithItsConsumer(t *testing.T) {
	js, _, _, ended := startWatch(t)
	for _, info := range consumers(t, js) {
		if err := js.DeleteConsumer(t.Context(), "KV_"+connectionkv.BucketControl, info.Name); err != nil {
			t.Fatal(err)
		}
	}
	wantEnd(t, ended, "no heartbeat within 600ms")
}

// What the broker sent and we never got shows in its count.
func TestAWatchThatLostAMessageEnds(t *testing.T) {
	js, _, _, ended := startWatch(t)
	for _, info := range consumers(t, js) {
		beat := nats.NewMsg(info.Config.DeliverSubject)
		beat.Header = nats.Header{"Status": {"100"}, "Nats-Last-Consumer": {"9"}}
		if err := js.Conn().PublishMsg(beat); err != nil {
			t.Fatal(err)
		}
	}
	wantEnd(t, ended, "messages were lost: have 1, the broker is at 9")
}

// A message can be taken away without leaving a marker, which no consumer hears
// of. The leader knows.
func TestAWatchEndsWhenNobodyTellsOfAChange(t *testing.T) {
	js, c, _, ended := startWatch(t)
	stream, err := js.Stream(t.Context(), "KV_"+connectionkv.BucketControl)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, ended, "the key has changed, and nobody told")
	again, _ := watch(t, c)
	again.wants(t, 10*time.Second, "-")
}

func TestAWatchTellsOfKeysThatRunOut(t *testing.T) {
	js, c, s, ended := startWatch(t)
	ctx := t.Context()
	kv, err := js.KeyValue(ctx, connectionkv.BucketControl)
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Delete(ctx, watched); err != nil {
		t.Fatal(err)
	}
	s.wants(t, 10*time.Second, "-")
	if _, err := kv.Create(ctx, watched, []byte("short"), jetstream.KeyTTL(time.Second)); err != nil {
		t.Fatal(err)
	}
	s.wants(t, 10*time.Second, "short")
	s.wants(t, 10*time.Second, "-")
	if got, revision, err := c.Load(ctx, watched); got != nil || revision != 0 || err != nil {
		t.Errorf("Load: %q at %d, %v", got, revision, err)
	}
	if err := save(ctx, c, "anew"); err != nil { // over the broker's own marker
		t.Fatal(err)
	}
	s.wants(t, 10*time.Second, "anew")
	select {
	case err := <-ended:
		t.Errorf("the watch broke: %v", err)
	default:
	}
}

// A quiet watch lives: heartbeats and comparisons with the leader go on and find
// nothing.
func TestAQuietWatchLives(t *testing.T) {
	_, c, s, ended := startWatch(t)
	select {
	case err := <-ended:
		t.Fatalf("the watch broke: %v", err)
	case <-time.After(3*time.Second + 4*testCompare):
	}
	if err := save(t.Context(), c, "later"); err != nil {
		t.Fatal(err)
	}
	s.wants(t, 10*time.Second, "later")
}

func TestAWatchOnASilentBrokerEnds(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the real server")
	}
	p := natstest.ExternalProcess(t)
	js := natstest.JetStream(t, p.URL())
	makeControl(t, js, 1)
	c := openControl(t, connectionkv.ControlConfig{JS: js, Timeout: time.Second})
	s, ended := watch(t, c)
	s.wants(t, 10*time.Second, "-")
	p.Pause()
	wantEnd(t, ended, "no heartbeat within 600ms")
	p.Resume()
	again := follow(t, c)
	natstest.Eventually(t, 20*time.Second, func() bool { return save(t.Context(), c, "later") == nil }, "it takes a state again")
	again.wants(t, 10*time.Second, "later")
}

func TestWatchesGoOnAfterARestartOfTheBroker(t *testing.T) {
	server := natstest.Start(t)
	js := natstest.JetStream(t, server.URL())
	makeControl(t, js, 1)
	c := openControl(t, connectionkv.ControlConfig{JS: js, Timeout: time.Second})
	s, other := follow(t, c), follow(t, openControl(t, connectionkv.ControlConfig{JS: natstest.JetStream(t, server.URL()), Holder: "b", Timeout: time.Second}))
	s.wants(t, 10*time.Second, "-")
	for _, value := range []string{"one", "two"} {
		server.Restart()
		natstest.Eventually(t, 20*time.Second, func() bool { return save(t.Context(), c, value) == nil }, "it takes a state again")
		s.wants(t, 20*time.Second, value)
		other.wants(t, 20*time.Second, value)
	}
}
