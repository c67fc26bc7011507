package e2e_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// lanesOfWork are the consumers that a user's way goes through, and their streams.
func lanesOfWork() map[string]string {
	return map[string]string{"finx-connects": events.StreamRequests, "finx-callbacks": events.StreamCallbacks, "finx-syncs": events.StreamRequests}
}

// TestSlowWorkIsDeliveredOnce has one second stand for the thirty of the usual
// AckWait: token calls that take as long, and a fetch that takes forty times as
// long, with a refresh in the middle of it.
func TestSlowWorkIsDeliveredOnce(t *testing.T) {
	const ackWait, pages = time.Second, 40
	r := newRig(t, options{
		sandbox: finxtest.Options{RevokeOnReuse: true, Shape: finxtest.Shape{Accounts: 1, Transactions: 10*pages - 5}},
		env:     map[string]string{"ACK_WAIT": ackWait.String(), "FINX_TIMEOUT_TOKEN": "10s", "PAGE_SIZE": "10"},
	})
	w := r.deliveries()
	p := r.serve()
	r.fault(finxtest.Fault{Call: "token", Delay: finxtest.Duration(ackWait)})
	r.fault(finxtest.Fault{Call: "transactions", Delay: finxtest.Duration(ackWait)})
	link := r.connect("slow@example.com")
	begun := time.Now()
	r.callback(r.approve(link.Location))
	natstest.Eventually(t, within, func() bool { return r.sandbox.Stats().Total("transactions") >= pages/2 }, "half of the fetch")
	r.sandbox.Advance(2 * time.Hour) // the access token is dead
	completed := await(r, pages*ackWait+within, "slow fetch", func() (event, bool) {
		for _, e := range r.seen.events {
			if e.Type == events.TypeFetchCompleted {
				return e, true
			}
		}
		return event{}, false
	})
	if took := time.Since(begun); took < (pages+2)*ackWait {
		t.Errorf("it took %s, which is not slow", took)
	}
	r.parts(completed)
	if s := r.sandbox.Stats(); s.Rotations != 1 || s.RefreshesReused+s.CodesReused+s.FamiliesRevoked > 0 {
		t.Errorf("%d rotations, %d refresh tokens and %d codes reused", s.Rotations, s.RefreshesReused, s.CodesReused)
	}
	w.once(p)
	if n := w.logs["finx-syncs"].Heartbeats(); n < pages {
		t.Errorf("%d signs of life in a fetch of %d AckWaits", n, pages)
	}
}

// TestSlowTokenCallsAreDeliveredOnce has the times that there are.
func TestSlowTokenCallsAreDeliveredOnce(t *testing.T) {
	long(t)
	const call = 35 * time.Second // longer than the usual AckWait
	r := newRig(t, options{sandbox: finxtest.Options{RevokeOnReuse: true}, env: map[string]string{"ACK_WAIT": "30s", "FINX_TIMEOUT_TOKEN": "45s"}})
	w := r.deliveries()
	p := r.serve()
	r.fault(finxtest.Fault{Call: "token", Delay: finxtest.Duration(call)})
	link := r.connect("slow@example.com")
	r.callback(r.approve(link.Location))
	await(r, call+within, "exchange", func() (bool, bool) {
		return true, r.seen.counted(r.codec, events.TypeFetchCompleted) == 1
	})
	r.sandbox.Advance(2 * time.Hour)
	r.send(events.TypeSyncRequested, syncData(link.ConnectionID))
	await(r, call+within, "refresh", func() (bool, bool) {
		return true, r.seen.counted(r.codec, events.TypeFetchCompleted) == 2
	})
	if s := r.sandbox.Stats(); s.CodesExchanged != 1 || s.Rotations != 1 || s.RefreshesReused+s.CodesReused+s.FamiliesRevoked > 0 {
		t.Errorf("%d exchanges, %d rotations, %d refresh tokens and %d codes reused", s.CodesExchanged, s.Rotations, s.RefreshesReused, s.CodesReused)
	}
	w.once(p)
}

// TestHungCallsAreGivenUp has finX never answer the first call of each kind. The
// call ends at its own time; what it was for comes back at once or by itself.
func TestHungCallsAreGivenUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{
		sandbox: finxtest.Options{Grace: time.Hour, CodeGrace: time.Hour, Shape: finxtest.Shape{Accounts: 1, Transactions: 23}},
		env: map[string]string{
			"FINX_TIMEOUT_LINK": "1s", "FINX_TIMEOUT_TOKEN": "1s", "FINX_TIMEOUT_ACCOUNTS": "1s", "FINX_TIMEOUT_PAGE": "1s",
			"FINX_RETRY_BUDGET": "0s", "CLOCK_SKEW": "1s", // a call that fails is not repeated by its handler
		},
	})
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	var mu sync.Mutex
	hung := map[string]bool{}
	r.bank.on(func(c passing) bool {
		kind := c.Method + " " + c.Path
		if strings.HasSuffix(c.Path, "/transactions") {
			kind = "a page"
		}
		mu.Lock()
		first := !c.Answered && !hung[kind]
		if first {
			hung[kind] = true
		}
		mu.Unlock()
		if first {
			<-over
		}
		return first
	})
	w := r.deliveries()
	r.serve()
	link, completed := r.establish("hung@example.com")
	r.parts(completed)
	r.sandbox.Advance(2 * time.Hour)
	mu.Lock()
	delete(hung, http.MethodPost+" /auth/token")
	mu.Unlock()
	r.send(events.TypeSyncRequested, syncData(link.ConnectionID))
	r.parts(r.completed(link.ConnectionID, 2))
	for durable, stream := range lanesOfWork() {
		r.idle(stream, durable)
	}
	mu.Lock()
	if len(hung) != 4 {
		t.Errorf("these hung: %v", hung)
	}
	mu.Unlock()
	if s := r.sandbox.Stats(); s.CodesExchanged != 1 || s.Rotations != 1 || s.RefreshesReused+s.CodesReused+s.FamiliesRevoked > 0 {
		t.Errorf("%d exchanges, %d rotations, %d refresh tokens and %d codes reused", s.CodesExchanged, s.Rotations, s.RefreshesReused, s.CodesReused)
	}
	// The link, the accounts and a page: each is asked for again by the event that
	// comes back. A token call has its one repetition at once.
	for durable, want := range map[string]int{"finx-connects": 1, "finx-callbacks": 0, "finx-syncs": 2} {
		if n := w.handedBack(durable); n != want {
			t.Errorf("%s: %d deliveries handed back, want %d", durable, n, want)
		}
	}
	if letters := r.seen.lettersSoFar(); len(letters) != 0 {
		t.Errorf("%d dead letters", len(letters))
	}
}

// deliveries watches the wire for what becomes of each delivery.
type deliveries struct {
	r    *rig
	logs map[string]*natstest.AckLog // by durable
}

func (r *rig) deliveries() *deliveries {
	r.t.Helper()
	w := &deliveries{r: r, logs: map[string]*natstest.AckLog{}}
	for durable, stream := range lanesOfWork() {
		w.logs[durable] = natstest.RecordAcks(r.t, r.nc, stream, durable)
	}
	return w
}

// once holds that no message was delivered twice: on the wire, by the server's
// count and by the connector's.
func (w *deliveries) once(p *process) {
	w.r.t.Helper()
	for durable, stream := range lanesOfWork() {
		w.r.idle(stream, durable)
		log := w.logs[durable]
		if len(log.Verdicts()) == 0 {
			w.r.t.Errorf("%s: nothing was delivered", durable)
		}
		for _, a := range log.All() {
			if a.Delivered != 1 || a.Body != "+WPI" && a.Body != "+ACK" {
				w.r.t.Errorf("%s: delivery %d of message %d was answered %q", durable, a.Delivered, a.Sequence, a.Body)
			}
		}
		info := w.info(durable)
		if info.NumRedelivered != 0 || info.Delivered.Consumer != uint64(len(log.Verdicts())) {
			w.r.t.Errorf("%s: %d deliveries, %d messages redelivered, %d answered", durable, info.Delivered.Consumer, info.NumRedelivered, len(log.Verdicts()))
		}
		if n := reading(w.r.t, p, `finx_connector_consumer_redelivered_total{lane="`+strings.TrimPrefix(durable, "finx-")+`"}`); n != 0 {
			w.r.t.Errorf("%s: the connector counts %d redeliveries", durable, n)
		}
	}
}

// handedBack counts deliveries that were neither acknowledged nor given up.
func (w *deliveries) handedBack(durable string) (n int) {
	for _, a := range w.logs[durable].Verdicts() {
		if strings.HasPrefix(a.Body, "-NAK") {
			n++
		}
	}
	return n
}

func (w *deliveries) info(durable string) *jetstream.ConsumerInfo {
	w.r.t.Helper()
	c, err := w.r.js.Consumer(w.r.t.Context(), lanesOfWork()[durable], durable)
	if err != nil {
		w.r.t.Fatal(err)
	}
	return c.CachedInfo()
}
