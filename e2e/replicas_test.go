package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// slowProvider is a finX that takes 200 ms for each call from slowDown on, so that slots and not this machine's
// two processors bound what one process does. Codes and tokens have a grace: a
// process that is killed while finX answers must not cost a connection here.
func slowProvider(t *testing.T, env map[string]string) *rig {
	t.Helper()
	return newRig(t, options{
		sandbox: finxtest.Options{Grace: 10 * time.Minute, CodeGrace: 10 * time.Minute, Shape: finxtest.Shape{Accounts: 1, Transactions: 23}},
		env:     env,
	})
}

// slowDown begins it.
func (r *rig) slowDown() {
	r.t.Helper()
	r.fault(finxtest.Fault{Call: "*", Delay: finxtest.Duration(200 * time.Millisecond)})
}

// TestReplicasShareTheWork adds processes on the same consumers, and then kills
// and adds some while the work goes on.
func TestReplicasShareTheWork(t *testing.T) {
	const connections = 24
	r := slowProvider(t, map[string]string{
		"CONNECT_CONCURRENCY": "2", "CALLBACK_CONCURRENCY": "2", "SYNC_CONCURRENCY": "2", "CLOCK_SKEW": "1s",
	})
	apart := newApart(r)
	replicas := []*process{r.serveAnywhere(true)}
	l := newLoad(r, 0)
	l.together(connections, func(i int) error { return l.user(fmt.Sprintf("replicas-%d@example.com", i)) })
	r.slowDown()

	var rates []float64
	for _, n := range []int{1, 2, 4} {
		for len(replicas) < n {
			replicas = append(replicas, r.serveAnywhere(true))
		}
		before := shares(t, replicas)
		begun := time.Now()
		l.together(connections, func(i int) error { return l.fetch(l.acked(events.TypeCallbackReceived)[i].connectionID) })
		rates = append(rates, connections/time.Since(begun).Seconds())
		after := shares(t, replicas)
		for i := range replicas {
			if after[i] -= before[i]; after[i] == 0 {
				t.Errorf("process %d of %d got nothing to do", i+1, n)
			}
		}
		t.Logf("%d processes of 2 slots: %.1f fetches a second, shared as %v", n, rates[len(rates)-1], after)
	}
	if rates[1] < 1.1*rates[0] || rates[2] < 1.1*rates[1] {
		t.Errorf("more processes do no more: %.1f fetches a second", rates)
	}

	l.run(4)
	l.rivals(8, 3)
	for range 2 {
		l.progress(events.TypeFetchCompleted, 3)
		busiest(t, replicas).kill()
		l.progress(events.TypeFetchCompleted, 3)
		replicas = append(replicas, r.serveAnywhere(true))
	}
	l.progress(events.TypeFetchCompleted, 3)
	l.end()
	r.idle(events.StreamCallbacks, "finx-callbacks")
	r.idle(events.StreamRequests, "finx-syncs")
	l.audit()
	apart.check()
}

// rivals publishes one request for a fetch of each of some connections in copies,
// which are handled side by side where nothing prevents it; end waits for them.
func (l *load) rivals(connections, copies int) {
	l.t.Helper()
	for _, in := range l.acked(events.TypeCallbackReceived)[:connections] {
		asked := ackedInput{typ: events.TypeSyncRequested, id: events.NewUUID(), connectionID: in.connectionID}
		body := l.structured(asked.typ, asked.id, syncData(asked.connectionID))
		for range copies {
			l.publish(asked.typ, body, events.HeaderContentType, events.ContentTypeStructured)
		}
		l.mu.Lock()
		l.inputs = append(l.inputs, asked)
		l.mu.Unlock()
		l.wait.Go(func() {
			if err := l.fetchedBy(asked.id); err != nil {
				l.t.Error(err)
			}
		})
	}
}

// shares is how many fetches each process has been given.
func shares(t *testing.T, replicas []*process) []int {
	t.Helper()
	var out []int
	for _, p := range replicas {
		out = append(out, reading(t, p, `finx_connector_consumer_received_total{lane="syncs"}`))
	}
	return out
}

// busiest is a living process with work in hand, the one with the most.
func busiest(t *testing.T, replicas []*process) (found *process) {
	t.Helper()
	natstest.Eventually(t, within, func() bool {
		most := 0
		for _, p := range replicas {
			select {
			case <-p.exited:
				continue
			default:
			}
			if n := reading(t, p, `finx_connector_consumer_in_flight{lane="syncs"}`); n > most {
				found, most = p, n
			}
		}
		return found != nil
	}, "a process at work")
	return found
}

// reading is what a process says of one counter or gauge.
func reading(t testing.TB, p *process, name string) int {
	t.Helper()
	_, page, err := get(t, p.addr, "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	return int(metric(page, name))
}

// apart sees at the bank's door that no connection's data is asked for twice at
// the same time. A killed process's last call counts until the bank is done with it.
type apart struct {
	t testing.TB

	mu      sync.Mutex
	owner   map[string]string // what a token stems from: the code of its connection
	running map[string]int    // data calls under way, by owner
	calls   int
	overlap int
}

func newApart(r *rig) *apart {
	a := &apart{t: r.t, owner: map[string]string{}, running: map[string]int{}}
	r.bank.on(func(c passing) bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		if value := spent(c); value != "" {
			a.handedOut(value, c)
		}
		if token, ok := strings.CutPrefix(c.Header.Get("Authorization"), "Bearer "); ok {
			a.data(token, c)
		}
		return false
	})
	return a
}

// handedOut notes to whom the tokens of an answer belong.
func (a *apart) handedOut(value string, c passing) {
	if !c.Answered || c.Status != http.StatusOK {
		return
	}
	owner := value
	if first, known := a.owner[value]; known {
		owner = first
	}
	var answer struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if err := json.Unmarshal(c.Answer, &answer); err != nil {
		a.t.Error(err)
	}
	a.owner[answer.Access], a.owner[answer.Refresh] = owner, owner
}

func (a *apart) data(token string, c passing) {
	owner, known := a.owner[token]
	switch {
	case !known:
		a.t.Error("a data call with a token that was never handed out")
	case c.Answered:
		a.running[owner]--
	default:
		a.calls++
		if a.running[owner]++; a.running[owner] > 1 {
			a.overlap++
		}
	}
}

func (a *apart) check() {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.t.Logf("%d data calls", a.calls)
	if a.calls == 0 || a.overlap > 0 {
		a.t.Errorf("%d of %d data calls while another of the same connection was under way", a.overlap, a.calls)
	}
}
