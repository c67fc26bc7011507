package consumer_test

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

const (
	timers     = "FINX_TIMERS"
	durableDue = "finx-due"
	// parkAfter is short, because schedules are kept to the second.
	parkAfter = time.Second
	// longer is a wait that is parked, whatever is added to it.
	longer = 1500 * time.Millisecond
)

// newParkRig is a rig with a stream for what is parked.
func newParkRig(t *testing.T, ackWait time.Duration, opts ...natstest.Option) *rig {
	t.Helper()
	r := newRig(t, ackWait, opts...)
	r.addTimers(timers, "finx.timer.>", "finx.due.>")
	return r
}

func (r *rig) addTimers(name, waits, due string) {
	r.Helper()
	_, err := r.js.CreateStream(r.ctx(), jetstream.StreamConfig{
		Name: name, Subjects: []string{waits, due}, AllowMsgSchedules: true, AllowMsgTTL: true, AllowRollup: true,
	})
	r.must(err)
	_, err = r.js.CreateConsumer(r.ctx(), name, jetstream.ConsumerConfig{
		Durable: durableDue, AckPolicy: jetstream.AckExplicitPolicy, AckWait: r.ackWait, MaxDeliver: -1, FilterSubject: due,
	})
	r.must(err)
}

// parking adds the lane that takes what comes due.
func parking(c *consumer.Config, _ *consumer.Lane) {
	c.TimersStream, c.ParkAfter = timers, parkAfter
	c.Lanes = append(c.Lanes, consumer.Lane{
		Name: "due", Stream: timers, Durable: durableDue, Slots: 4, Deadline: time.Minute, MaxAttempts: 3, Parked: true,
		Handle: func(context.Context, consumer.Delivery) error { return errBoom },
	})
}

// due sees the lane that parking added.
func due(change func(*consumer.Lane)) func(*consumer.Config, *consumer.Lane) {
	return func(c *consumer.Config, _ *consumer.Lane) { change(&c.Lanes[0]) }
}

func (r *rig) dueAcks() *natstest.AckLog {
	r.Helper()
	return natstest.RecordAcks(r.T, natstest.Connect(r.T, r.srv.URL()), timers, durableDue)
}

// stored returns all messages of a stream.
func (r *rig) stored(name string) []*jetstream.RawStreamMsg {
	r.Helper()
	s, err := r.js.Stream(r.ctx(), name)
	r.must(err)
	var all []*jetstream.RawStreamMsg
	for seq := s.CachedInfo().State.FirstSeq; seq > 0 && seq <= s.CachedInfo().State.LastSeq; seq++ {
		if m, err := s.GetMsg(r.ctx(), seq); err == nil {
			all = append(all, m)
		}
	}
	return all
}

// waiting returns the schedules that wait for their time.
func (r *rig) waiting(name string) []*jetstream.RawStreamMsg {
	r.Helper()
	var all []*jetstream.RawStreamMsg
	for _, m := range r.stored(name) {
		if m.Header.Get(jetstream.ScheduleHeader) != "" {
			all = append(all, m)
		}
	}
	return all
}

// pending is how many deliveries the two consumers wait for an answer to.
func (r *rig) pending() int {
	r.Helper()
	c, err := r.js.Consumer(r.ctx(), timers, durableDue)
	r.must(err)
	return r.info().NumAckPending + c.CachedInfo().NumAckPending
}

// text is all of a stream that anybody could read.
func (r *rig) text(name string) string {
	r.Helper()
	var b strings.Builder
	for _, m := range r.stored(name) {
		b.WriteString(m.Subject + "\n" + headerText(m.Header) + string(m.Data) + "\n")
	}
	return b.String()
}

// wait is the error of somebody who is told to come back after d.
func wait(d time.Duration) error { return fault.Throttled(fault.FinX, time.Now().Add(d), errBoom) }

// body reads a parked reference.
func body(t *testing.T, m *jetstream.RawStreamMsg) map[string]any {
	t.Helper()
	var b map[string]any
	if err := json.Unmarshal(m.Data, &b); err != nil {
		t.Fatalf("%s: %v", m.Data, err)
	}
	return b
}

// inOrder returns a handler that does what the steps say, one a call, and the
// deliveries it was called with.
func inOrder(steps ...error) (consumer.Handler, chan consumer.Delivery) {
	got := make(chan consumer.Delivery, 1000)
	n := make(chan int, 1)
	n <- 0
	return func(_ context.Context, d consumer.Delivery) error {
		got <- d
		i := <-n
		n <- i + 1
		if i >= len(steps) {
			return nil
		}
		if until, ok := fault.Until(steps[i]); ok && until.IsZero() {
			return wait(longer)
		}
		return steps[i]
	}, got
}

// waits is a step of inOrder that says to come back after longer, from then on.
func waits() error { return fault.Throttled(fault.FinX, time.Time{}, errBoom) }

// next returns the next delivery.
func next(t *testing.T, got <-chan consumer.Delivery) consumer.Delivery {
	t.Helper()
	select {
	case d := <-got:
		return d
	case <-time.After(soon):
		t.Fatal("no delivery")
		return consumer.Delivery{}
	}
}

// limited is a server with a user that may not publish to the subjects.
func limited(denied ...string) natstest.Option {
	return natstest.WithOptions(func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "admin", Password: "x"},
			{Username: "limited", Password: "x", Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Deny: denied},
				Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
			}},
		}
		o.NoAuthUser = "admin"
	})
}

// asLimited connects as that user.
func (r *rig) asLimited() (jetstream.JetStream, func(*consumer.Config, *consumer.Lane)) {
	r.Helper()
	nc := natstest.Connect(r.T, r.srv.URL(), nats.UserInfo("limited", "x"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	js, err := jetstream.New(nc)
	r.must(err)
	return js, func(c *consumer.Config, _ *consumer.Lane) { c.JS = js }
}

func (r *rig) publishMany(n int) {
	r.Helper()
	for i := range n {
		r.publish(strconv.Itoa(i), nil)
	}
}
