package natstest

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// Ack is one acknowledgement as it went over the wire.
type Ack struct {
	Subject   string
	Body      string // "+ACK", `-NAK {"delay":…}`, "+TERM reason", "+WPI"
	Delivered uint64 // which delivery of the message is answered, from 1
	Sequence  uint64 // stream sequence of the message
	Confirmed bool   // the sender waits for the server's word (DoubleAck)
	At        time.Time
}

// AckLog records every acknowledgement of one consumer, in the order they
// arrived. It is safe for concurrent use.
type AckLog struct {
	mu   sync.Mutex
	acks []Ack
}

// RecordAcks listens to the acknowledgements of a consumer through nc, in both
// forms of the subject: `$JS.ACK.<stream>.<consumer>.…` and the one that names
// domain and account first. It is listening when it returns.
func RecordAcks(t testing.TB, nc *nats.Conn, stream, consumer string) *AckLog {
	t.Helper()
	log := &AckLog{}
	for prefix, pattern := range map[int]string{
		2: "$JS.ACK." + stream + "." + consumer + ".>",
		4: "$JS.ACK.*.*." + stream + "." + consumer + ".>",
	} {
		sub, err := nc.Subscribe(pattern, func(m *nats.Msg) { log.add(m, prefix+2) })
		if err != nil {
			t.Fatalf("natstest: subscribing to acknowledgements: %v", err)
		}
		t.Cleanup(func() { _ = sub.Unsubscribe() })
	}
	if err := nc.Flush(); err != nil {
		t.Fatalf("natstest: subscribing to acknowledgements: %v", err)
	}
	return log
}

// add reads the delivery count and the stream sequence, the two tokens from
// index first of the subject.
func (l *AckLog) add(m *nats.Msg, first int) {
	a := Ack{Subject: m.Subject, Body: string(m.Data), Confirmed: m.Reply != "", At: time.Now()}
	if tokens := strings.Split(m.Subject, "."); len(tokens) > first+1 {
		a.Delivered, _ = strconv.ParseUint(tokens[first], 10, 64)
		a.Sequence, _ = strconv.ParseUint(tokens[first+1], 10, 64)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acks = append(l.acks, a)
}

// All returns what was recorded so far.
func (l *AckLog) All() []Ack {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.acks)
}

// Verdicts returns what was recorded so far without the "+WPI" heartbeats:
// what settled the deliveries.
func (l *AckLog) Verdicts() []Ack {
	return slices.DeleteFunc(l.All(), func(a Ack) bool { return a.Body == "+WPI" })
}

// Heartbeats returns how many "+WPI" were recorded so far.
func (l *AckLog) Heartbeats() int { return len(l.All()) - len(l.Verdicts()) }

// WaitVerdicts waits until n deliveries have been settled and returns them.
func (l *AckLog) WaitVerdicts(t testing.TB, n int, timeout time.Duration) []Ack {
	t.Helper()
	Eventually(t, timeout, func() bool { return len(l.Verdicts()) >= n }, strconv.Itoa(n)+" deliveries settled")
	return l.Verdicts()
}
