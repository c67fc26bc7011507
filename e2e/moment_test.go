package e2e_test

import (
	"bytes"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// patience bounds the wait for a redelivery after a kill: AckWait, a lease to
// run out, and the journal's caution about a call of a process that is gone.
const patience = time.Minute

// moment is where a process is killed.
type moment struct {
	name string
	arm  func(r *rig, v *victim) (fired func())
}

// victim is the connector that is killed and started again.
type victim struct{ now atomic.Pointer[process] }

// start starts it and does not wait: its moment may be the first thing it does.
func (v *victim) start(r *rig) { v.now.Store(r.run("finx-connector", "serve")) }

func (v *victim) kill() { v.now.Load().kill() }

// bankCall kills when a call to finX arrives: before it takes effect, or after
// it did and before the answer is back.
func bankCall(path string, after bool) moment {
	return moment{name: path, arm: func(r *rig, v *victim) func() {
		return killAt(r.t, r.bank, v, func(c passing) bool {
			return strings.HasSuffix(c.Path, path) && c.Answered == after
		})
	}}
}

// vaultWrite kills at a write of a connection's secret that has a member: the
// journal's mark has pending, the tokens have access_token.
func vaultWrite(member string, after bool) moment {
	return moment{name: member, arm: func(r *rig, v *victim) func() {
		return killAt(r.t, r.safe, v, func(c passing) bool {
			return c.Method != http.MethodGet && strings.Contains(c.Path, "/data/finx/connections/") && c.Answered == after &&
				bytes.Contains(c.Body, []byte(`"`+member+`"`))
		})
	}}
}

// killAt kills at the first call that fits, which is then answered no more.
func killAt(t testing.TB, g *gate, v *victim, fits func(passing) bool) (fired func()) {
	t.Helper()
	done := make(chan struct{})
	var once sync.Once
	g.on(func(c passing) (drop bool) {
		if !fits(c) {
			return false
		}
		once.Do(func() {
			v.kill()
			close(done)
			drop = true
		})
		return drop
	})
	return func() {
		t.Helper()
		limit := time.NewTimer(patience)
		defer limit.Stop()
		select {
		case <-done:
			g.on(nil)
		case <-limit.C:
			t.Fatal("the call to be killed at did not come")
		}
	}
}

// stored kills when a message of that type has been stored.
func stored(typ string) moment {
	return moment{name: typ, arm: func(r *rig, v *victim) func() {
		before := r.count(typ)
		return func() {
			r.t.Helper()
			await(r, patience, typ+" to kill at", func() (bool, bool) {
				return true, r.seen.counted(r.codec, typ) > before
			})
			v.kill()
		}
	}}
}

// count returns how many messages of a type are stored, from the connector
// itself where upstream publishes them too.
func (r *rig) count(typ string) int {
	r.seen.mu.Lock()
	defer r.seen.mu.Unlock()
	return r.seen.counted(r.codec, typ)
}

// counted is count for holders of o.mu.
func (o *observer) counted(codec events.Codec, typ string) (n int) {
	for _, m := range o.all {
		if got, _ := codec.TypeOf(m.Subject); got != typ || m.Stream != events.StreamOf(typ) {
			continue
		}
		if !events.IsInput(typ) || bytes.Contains(m.Data, []byte(`"source":"`+events.Source+`"`)) {
			n++
		}
	}
	return n
}

// idle waits until a consumer has nothing left to deliver and nothing under way.
func (r *rig) idle(stream, durable string) {
	r.t.Helper()
	natstest.Eventually(r.t, patience, func() bool {
		c, err := r.js.Consumer(r.t.Context(), stream, durable)
		if err != nil {
			return false
		}
		info := c.CachedInfo()
		return info.NumPending == 0 && info.NumAckPending == 0
	}, durable+" idle")
}

// fetched waits for the completed fetch of a connection with that trigger.
func (r *rig) fetched(connectionID, trigger string) event {
	r.t.Helper()
	return await(r, patience, "fetch by "+trigger, func() (event, bool) {
		for _, e := range r.seen.events {
			if e.Type == events.TypeFetchCompleted && e.ConnectionID == connectionID && e.Trigger == trigger {
				return e, true
			}
		}
		return event{}, false
	})
}

// pause waits without looking at anything: for the moment of a kill that is to
// have no reason.
func pause(t testing.TB, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// envOf is the environment that a process was started with.
func envOf(p *process) map[string]string {
	env := map[string]string{}
	for _, pair := range p.cmd.Env {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	return env
}
