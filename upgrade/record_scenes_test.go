package upgrade_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
)

// ordinary leaves a connection in each state that needs no trouble, an event that is
// parked for long, and the timers of an established connection.
func (r *recorder) ordinary() {
	p := r.serve(nil)
	r.establish("established")
	r.connect("link_created")
	id := r.connect("failed")
	back, err := r.sandbox.Cancel(r.location(id))
	r.must(err)
	r.callback("failed", back.String())
	r.eventually("it failed", func() bool { return r.record(id).State == connection.Failed })

	id = r.establish("reauthorization_required")
	r.sandbox.RevokeUser("user-reauthorization_required")
	r.sync("reauthorization_required", id)
	r.eventually("it needs a human", func() bool { return r.record(id).State == connection.ReauthorizationRequired })

	if !r.has("parking") {
		r.stop(p)
		return
	}
	id = r.establish("parked")
	r.fault(finxtest.Fault{Call: "accounts", Status: http.StatusLocked, Code: 1008, RetryAfter: "7200"})
	r.sync("parked", id)
	r.eventually("it is parked", func() bool { return r.timers(events.SubjectTimerPark) == 1 })
	r.sandbox.ClearFaults()
	r.stop(p)
}

// letters leaves a dead letter of each class.
func (r *recorder) letters() {
	p := r.serve(map[string]string{"FINX_RETRY_BUDGET": "0s"})
	r.publish(events.TypeConnectRequested, nats.Header{"X-Team": {"a"}}, []byte(`{"user_id":"u"}`))
	r.publish(events.TypeCallbackReceived, nats.Header{events.HeaderMsgID: {"unknown-1"}}, []byte(`{"state":"nobody's","success":true,"code":"fixture-code-unknown"}`))
	r.publish(events.TypeCallbackReceived, nil, []byte(`{"state":"state-established","success":true,"code":"fixture-code-injected"}`))
	r.publish(events.TypeConnectRequested, nil, []byte(`{"user_id":"u","redirect_uri":"`+redirectURI+`","x":"`+strings.Repeat("x", 17<<10)+`"}`))
	r.buried("malformed", "unknown_state", "rejected", "oversize")

	if r.has("parking") {
		r.expired()
	}
	id := r.establish("exhausted")
	outage := r.establish("outage")
	r.stop(p)
	p = r.serve(map[string]string{"MAX_ATTEMPTS": "1", "SYNC_TIMEOUT": "2s", "FINX_TIMEOUT_TOKEN": "1s"})
	r.fault(finxtest.Fault{Call: "accounts", Delay: finxtest.Duration(20 * time.Second)})
	r.sync("exhausted", id)
	r.buried("exhausted")
	p.end()
	r.sandbox.ClearFaults()

	p = r.serve(map[string]string{"OUTAGE_AFTER": "1s", "BREAKER_FAILURES": "1000", "FINX_RETRY_BUDGET": "0s"})
	r.fault(finxtest.Fault{Call: "accounts", Status: http.StatusInternalServerError})
	r.sync("outage", outage)
	r.buried("outage")
	r.stop(p)
	r.sandbox.ClearFaults()
}

// expired leaves the dead letter of a parked event whose original is gone.
func (r *recorder) expired() {
	id := r.establish("expired")
	r.fault(finxtest.Fault{Call: "accounts", Status: http.StatusLocked, Code: 1008, RetryAfter: "4", Times: 1})
	before := r.timers(events.SubjectTimerPark)
	r.sync("expired", id)
	r.eventually("it is parked", func() bool { return r.timers(events.SubjectTimerPark) > before })
	s, err := r.js.Stream(r.ctx(), events.StreamRequests)
	r.must(err)
	for _, m := range r.stored(events.StreamRequests) {
		if bytes.Contains(m.Data, []byte(`"sync-expired"`)) {
			r.must(s.DeleteMsg(r.ctx(), m.Sequence))
		}
	}
	r.buried("expired")
}

// outages leaves the shared state of an open guard each.
func (r *recorder) outages() {
	p := r.serve(nil)
	id := r.ids["outage"]
	everything := func(*http.Request, []byte) verdict { return refuse }
	for name, d := range map[string]*door{"finx": r.bank, "vault": r.safe} {
		d.guard(everything)
		r.sync("open-"+name, id)
		r.keep(connectionkv.BucketControl, "breaker."+name)
		d.guard(nil)
		r.eventually(name+" is asked again", func() bool {
			var s struct {
				OpenUntil time.Time `json:"open_until"`
			}
			return json.Unmarshal(r.value(connectionkv.BucketControl, "breaker."+name), &s) == nil && s.OpenUntil.IsZero()
		})
	}
	r.stop(p)
}

// poisoned leaves the note on an event in whose handling processes ended, and with it
// a connection that has no link yet.
func (r *recorder) poisoned() {
	r.bank.guard(r.holding("user-requested"))
	id := r.ask("requested")
	r.pending = append(r.pending, "connect-requested")
	sequence := r.stored(events.StreamRequests)[len(r.stored(events.StreamRequests))-1].Sequence
	key := "suspect." + events.StreamRequests + "." + strconv.FormatUint(sequence, 10)
	for range 8 {
		held := r.count("user-requested")
		p := r.serve(nil)
		r.eventually("its link is being made", func() bool { return r.count("user-requested") > held })
		noted := r.value(connectionkv.BucketControl, key) != nil
		p.end()
		if noted || !r.has("suspects") {
			break
		}
	}
	if r.has("suspects") {
		r.keep(connectionkv.BucketControl, key)
	}
	if r.record(id).State != connection.Requested {
		r.Error("it has a link")
	}
}

// interrupted leaves what a process that was killed in the middle of token calls
// leaves: open marks of both kinds, answers in escrow and in the spool, leases.
func (r *recorder) interrupted() {
	p := r.serve(nil)
	names := []string{"rotating", "escrowed", "spooled"}
	ids := map[string]string{}
	for _, name := range names {
		ids[name] = r.establish(name)
	}
	exchanging := r.connect("exchanging")
	back := r.approve(r.location(exchanging))
	r.stop(p)

	token, _ := r.secret(ids["rotating"])["refresh_token"].(string)
	r.bank.guard(r.holding("user-requested", token, back.Query().Get("code")))
	r.safe.guard(failAfterMark(ids["escrowed"], ids["spooled"]))
	p = r.serve(map[string]string{"FINX_REFRESH_SKEW": "1h", "SWEEP_RATE": "0", "FINX_TIMEOUT_TOKEN": "40s"})
	for _, name := range names {
		r.sync(name, ids[name])
		r.pending = append(r.pending, "sync-"+name)
	}
	body, err := json.Marshal(map[string]string{"callback_url": back.String()})
	r.must(err)
	r.publish(events.TypeCallbackReceived, nats.Header{events.HeaderMsgID: {"callback-exchanging"}}, body)
	r.pending = append(r.pending, "callback-exchanging")
	for _, id := range []string{ids["rotating"], exchanging} {
		r.eventually("its mark is open", func() bool { return r.secret(id)["pending"] != nil })
	}
	r.keep(connectionkv.BucketLeases, "tokens."+ids["rotating"])
	r.eventually("two answers are in escrow", func() bool {
		kv, err := r.js.KeyValue(r.ctx(), connectionkv.BucketEscrow)
		r.must(err)
		keys, err := kv.Keys(r.ctx())
		files, _ := os.ReadDir(r.spool)
		return err == nil && len(keys) == 2 && len(files) == 2
	})
	p.end()
}

// failAfterMark lets the first write of each secret through, which is the mark, and
// none after it.
func failAfterMark(ids ...string) func(*http.Request, []byte) verdict {
	seen := map[string]int{}
	return func(req *http.Request, _ []byte) verdict {
		if req.Method != http.MethodPut && req.Method != http.MethodPost {
			return pass
		}
		for _, id := range ids {
			if strings.HasSuffix(req.URL.Path, "/data/finx/connections/"+id) {
				if seen[id]++; seen[id] > 1 {
					return refuse
				}
			}
		}
		return pass
	}
}

func (r *recorder) count(text string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held[text]
}

// holding holds the calls of finX that contain one of the texts.
func (r *recorder) holding(texts ...string) func(*http.Request, []byte) verdict {
	return func(_ *http.Request, body []byte) verdict {
		for _, text := range texts {
			if bytes.Contains(body, []byte(text)) {
				r.mu.Lock()
				r.held[text]++
				r.mu.Unlock()
				return hold
			}
		}
		return pass
	}
}

func (r *recorder) fault(f finxtest.Fault) {
	r.Helper()
	_, err := r.sandbox.AddFault(f)
	r.must(err)
}

// timers counts what waits under a subject.
func (r *recorder) timers(under string) (n int) {
	for _, m := range r.stored(events.StreamTimers) {
		if strings.HasPrefix(m.Subject, under+".") {
			n++
		}
	}
	return n
}

// buried waits for dead letters of these classes.
func (r *recorder) buried(classes ...string) {
	r.Helper()
	for _, class := range classes {
		r.eventually("a dead letter is "+class, func() bool {
			for _, m := range r.stored(events.StreamDLQ) {
				if nats.Header(m.Header).Get("Dlq-Reason") == class {
					return true
				}
			}
			return false
		})
	}
}
