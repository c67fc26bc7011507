package e2e_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/internal/vaulttest"
)

// TestStopWhileFetching asks the real program to stop in the middle of a fetch:
// with the time to finish it, and without.
func TestStopWhileFetching(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		drain    string
		limit    time.Duration
		finishes bool
	}{
		"enough time": {"30s", 25 * time.Second, true},
		"no time":     {"1s", 10 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, options{
				sandbox: finxtest.Options{Shape: finxtest.Shape{Accounts: 1, Transactions: 500}},
				env:     map[string]string{"PAGE_SIZE": "25", "DRAIN_TIMEOUT": c.drain},
			})
			r.fault(finxtest.Fault{Call: "transactions", Delay: finxtest.Duration(150 * time.Millisecond)})
			p := r.serve()
			link := r.connect("stop@example.com")
			r.callback(r.approve(link.Location))
			natstest.Eventually(t, within, func() bool { return r.sandbox.Stats().Total("transactions") >= 3 }, "fetching")
			code, took := p.term(c.limit)
			if code != 0 {
				t.Errorf("exit code %d", code)
			}
			t.Logf("stopped in %s", took.Round(time.Millisecond))
			r.checkQuiet(p)
			done := len(r.seen.of(events.TypeFetchCompleted, link.ConnectionID)) == 1
			if c.finishes && !done {
				r.completed(link.ConnectionID, 1) // the observer may be a moment behind
			}
			if !c.finishes && done {
				t.Fatal("the fetch was over: the test shows nothing")
			}
			r.sandbox.ClearFaults()
			r.serve()
			completed := r.completed(link.ConnectionID, 1)
			r.idle(events.StreamRequests, "finx-syncs")
			if n := len(distinct(r.seen.of(events.TypeFetchCompleted, ""))); n != 1 || string(completed.Transactions) != "500" {
				t.Errorf("%d completed fetches, the first with %s transactions", n, completed.Transactions)
			}
			r.parts(completed)
		})
	}
}

// checkQuiet looks for lines that would wake somebody up.
func (r *rig) checkQuiet(p *process) {
	r.t.Helper()
	for line := range strings.SplitSeq(p.out.String(), "\n") {
		if strings.Contains(line, `"level":"ERROR"`) || strings.Contains(line, "panic") || strings.Contains(line, "DATA RACE") {
			r.t.Errorf("an orderly stop says %s", line)
		}
	}
}

// TestReadinessSaysWhy takes the dependencies away one by one.
func TestReadinessSaysWhy(t *testing.T) {
	nats := natstest.ExternalProcess(t)
	r := newRig(t, options{
		broker: func(testing.TB) string { return nats.URL() },
		vault:  vaulttest.StartOwn(t, "inmem"),
	})
	p := r.serve()
	r.bank.on(func(passing) bool { return true }) // finX is away, and that is nobody's readiness
	r.ready(p, http.StatusOK, "")

	r.vault.Seal(t)
	r.ready(p, http.StatusServiceUnavailable, `"name": "vault"`, "sealed")
	r.vault.Unseal(t)
	r.ready(p, http.StatusOK, "")

	nats.Kill()
	r.ready(p, http.StatusServiceUnavailable, `"name": "nats"`, "connect")
	nats.Start()
	r.ready(p, http.StatusOK, "")

	r.bank.on(nil)
	r.establish("after@example.com")
	if code, _ := p.term(within); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// ready waits for an answer of /readyz. Meanwhile /healthz says 200 whatever
// happens: a restart would bring no dependency back.
func (r *rig) ready(p *process, want int, parts ...string) {
	r.t.Helper()
	var said string
	defer func() {
		if r.t.Failed() {
			r.t.Logf("/readyz said last: %s", said)
		}
	}()
	natstest.Eventually(r.t, within, func() bool {
		if status, _, err := get(r.t, p.addr, "/healthz"); err != nil || status != http.StatusOK {
			r.t.Fatalf("/healthz: %d, %v", status, err)
		}
		status, body, err := get(r.t, p.addr, "/readyz")
		said = body
		if err != nil || status != want {
			return false
		}
		for _, part := range parts {
			if !strings.Contains(body, part) {
				return false
			}
		}
		return true
	}, append([]string{"/readyz", http.StatusText(want)}, parts...)...)
}
