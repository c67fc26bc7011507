package natstest

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Connect returns a connection that never gives up reconnecting and does not
// buffer what it could not send, as the program's own connection is set up.
// It is closed when the test ends. Later options win.
func Connect(t testing.TB, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	closed := make(chan struct{})
	base := []nats.Option{
		nats.Name(t.Name()),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(20 * time.Millisecond),
		nats.ReconnectJitter(10*time.Millisecond, 10*time.Millisecond),
		nats.ReconnectBufSize(-1),
		nats.Timeout(10 * time.Second),
	}
	opts = append(base, opts...)
	opts = append(opts, nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		t.Fatalf("natstest: connecting: %v", err)
	}
	t.Cleanup(func() {
		nc.Close()
		<-closed // the handler runs last, so that no goroutine of the client outlives the test
	})
	return nc
}

// JetStream returns a JetStream context on a connection of its own.
func JetStream(t testing.TB, url string) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(Connect(t, url))
	if err != nil {
		t.Fatalf("natstest: opening JetStream: %v", err)
	}
	return js
}

// WaitStreamLeader waits until the stream answers and, in a cluster, has a
// leader.
func WaitStreamLeader(t testing.TB, js jetstream.JetStream, stream string) {
	t.Helper()
	Eventually(t, readyWithin, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s, err := js.Stream(ctx, stream)
		return err == nil && led(s.CachedInfo().Cluster)
	}, "stream "+stream+" has a leader")
}

// WaitConsumerLeader waits until the consumer answers and, in a cluster, has a
// leader.
func WaitConsumerLeader(t testing.TB, js jetstream.JetStream, stream, consumer string) {
	t.Helper()
	Eventually(t, readyWithin, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c, err := js.Consumer(ctx, stream, consumer)
		return err == nil && led(c.CachedInfo().Cluster)
	}, "consumer "+consumer+" has a leader")
}

// led reports whether c names a leader; a single node has no cluster part.
func led(c *jetstream.ClusterInfo) bool { return c == nil || c.Name == "" || c.Leader != "" }
