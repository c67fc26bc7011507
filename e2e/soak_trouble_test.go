package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/finx-connector/finx-connector/finx/finxtest"
)

// trouble is something that goes wrong for a while.
type trouble struct {
	name string
	on   string // what it happens to; one trouble at a time each
	// begin starts it and returns what ends it. length is known to those that tell
	// it to the connector.
	begin func(w *world, length time.Duration) (end func())
}

// planned is a trouble with its time.
type planned struct {
	trouble

	at, length time.Duration
}

// pace is how long troubles last, and how soon one follows another, at most.
type pace struct{ longest, pause time.Duration }

// plan draws the troubles of a soak: each once before any comes again, several
// at the same time, and none at the end.
func plan(dice *rand.Rand, total time.Duration, p pace) (out []planned) {
	busy := map[string]time.Duration{}
	var deck []trouble
	for at := time.Second; ; at += 300*time.Millisecond + upTo(dice, p.pause) {
		if len(deck) == 0 {
			deck = troubles(dice)
			dice.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		length := 200*time.Millisecond + upTo(dice, p.longest)
		if at+length > total-time.Second {
			return out
		}
		i := slices.IndexFunc(deck, func(t trouble) bool { return busy[t.on] <= at })
		if i < 0 {
			continue
		}
		out = append(out, planned{trouble: deck[i], at: at, length: length})
		busy[deck[i].on] = at + length + 500*time.Millisecond
		deck = slices.Delete(deck, i, i+1)
	}
}

// troubles is one of each kind; where there is a choice, the dice make it.
func troubles(dice *rand.Rand) []trouble {
	all := finxTroubles()
	all = append(all, vaultTroubles()...)
	all = append(all, brokerTroubles(dice)...)
	for n := range 2 {
		all = append(all, replicaTroubles(n)...)
		all = append(all, wireTroubles(n)...)
	}
	return all
}

// finxTroubles are answers of finX. They come in two lots, so that two of them
// may happen at once.
func finxTroubles() (all []trouble) {
	bad := func(lot, name string, f func(length time.Duration) finxtest.Fault) {
		all = append(all, trouble{name: "finX: " + name, on: "finX " + lot, begin: func(w *world, length time.Duration) func() {
			return w.faults.add(w, f(length))
		}})
	}
	same := func(f finxtest.Fault) func(time.Duration) finxtest.Fault {
		return func(time.Duration) finxtest.Fault { return f }
	}
	seconds := func(d time.Duration) finxtest.RetryAfter {
		return finxtest.RetryAfter(strconv.Itoa(int(d.Seconds()) + 1))
	}
	bad("of all", "429 with Retry-After", func(d time.Duration) finxtest.Fault {
		return finxtest.Fault{Call: "*", Status: http.StatusTooManyRequests, RetryAfter: seconds(d)}
	})
	bad("of all", "429", same(finxtest.Fault{Call: "*", Status: http.StatusTooManyRequests}))
	bad("of all", "503 with Retry-After", func(d time.Duration) finxtest.Fault {
		until := time.Now().Add(d + time.Second).UTC().Format(http.TimeFormat)
		return finxtest.Fault{Call: "*", Status: http.StatusServiceUnavailable, RetryAfter: finxtest.RetryAfter(until)}
	})
	bad("of all", "503", same(finxtest.Fault{Call: "*", Status: http.StatusServiceUnavailable}))
	bad("of all", "500 half of the time", same(finxtest.Fault{Call: "*", Probability: 0.5, Status: http.StatusInternalServerError}))
	bad("of all", "a gateway's 502", same(finxtest.Fault{Call: "*", Status: http.StatusBadGateway, HTML: "<html>Bad Gateway</html>"}))
	bad("of all", "connections reset", same(finxtest.Fault{Call: "*", Probability: 0.6, Drop: "before"}))
	bad("of all", "slow answers", same(finxtest.Fault{Call: "*", Probability: 0.7, Delay: finxtest.Duration(1500 * time.Millisecond)}))
	bad("of data", "answers too late", same(finxtest.Fault{Call: "transactions", Probability: 0.5, Delay: finxtest.Duration(4 * time.Second)}))
	bad("of data", "pages cut off", same(finxtest.Fault{Call: "transactions", Probability: 0.5, Truncate: 700}))
	bad("of data", "answers lost", same(finxtest.Fault{Call: "transactions", Probability: 0.5, Drop: "after"}))
	bad("of data", "connections busy", same(finxtest.Fault{Call: "accounts", Probability: 0.6, Status: http.StatusLocked, Code: 1008}))
	bad("of tokens", "token answers lost", same(finxtest.Fault{Call: "token", Probability: 0.5, Drop: "after"}))
	bad("of tokens", "token answers lost behind a 504", same(finxtest.Fault{Call: "token", Probability: 0.6, Status: http.StatusGatewayTimeout, When: "after"}))
	bad("of tokens", "token answers too late", same(finxtest.Fault{Call: "token", Probability: 0.5, Delay: finxtest.Duration(4 * time.Second), When: "after"}))
	return all
}

func vaultTroubles() []trouble {
	return []trouble{
		{"Vault sealed", "Vault", func(w *world, _ time.Duration) func() {
			w.vault.Seal(w.t)
			return func() { w.vault.Unseal(w.t) }
		}},
		{"Vault stopped", "Vault", func(w *world, _ time.Duration) func() {
			w.vault.Stop(w.t)
			return func() { w.vault.Resume(w.t) }
		}},
	}
}

// brokerTroubles leave two of the three nodes alone: what loses its majority
// promises nothing.
func brokerTroubles(dice *rand.Rand) []trouble {
	killed, stopped := dice.IntN(3), dice.IntN(3)
	return []trouble{
		{fmt.Sprintf("broker node %d killed", killed+1), "broker", func(w *world, _ time.Duration) func() {
			w.broker.nodes[killed].kill()
			return w.broker.nodes[killed].start
		}},
		{fmt.Sprintf("broker node %d stopped", stopped+1), "broker", func(w *world, _ time.Duration) func() {
			w.broker.nodes[stopped].signal(syscall.SIGSTOP)
			return func() { w.broker.nodes[stopped].signal(syscall.SIGCONT) }
		}},
	}
}

func replicaTroubles(n int) []trouble {
	name := fmt.Sprintf("connector %d", n+1)
	return []trouble{
		{name + " killed", name, func(w *world, _ time.Duration) func() {
			w.replicas[n].kill()
			return w.replicas[n].start
		}},
		{name + " asked to stop", name, func(w *world, _ time.Duration) func() {
			w.replicas[n].signal(syscall.SIGTERM, true)
			return func() { go w.replicas[n].startAfter(drainWithin) }
		}},
		{name + " stopped", name, func(w *world, _ time.Duration) func() {
			w.replicas[n].signal(syscall.SIGSTOP, false)
			return func() { w.replicas[n].signal(syscall.SIGCONT, false) }
		}},
	}
}

// drainWithin is DRAIN_TIMEOUT, the time to take everything down, and as much
// again for a machine that does other things.
const drainWithin = time.Minute

func wireTroubles(n int) (all []trouble) {
	for _, to := range []string{"finX", "Vault", "NATS"} {
		for _, s := range []struct {
			how   string
			state wireState
		}{{"cut", cut}, {"stalled", stalled}} {
			name := fmt.Sprintf("connector %d's network to %s", n+1, to)
			all = append(all, trouble{name + " " + s.how, name, func(w *world, _ time.Duration) func() {
				for _, one := range w.lines[n].to(to) {
					one.set(s.state)
				}
				return func() {
					for _, one := range w.lines[n].to(to) {
						one.set(whole)
					}
				}
			}})
		}
	}
	return all
}

func (l lines) to(what string) []*wire {
	switch what {
	case "finX":
		return []*wire{l.finx}
	case "Vault":
		return []*wire{l.vault}
	}
	return l.nats
}

// finxFaults are the sandbox's faults of now. The sandbox forgets all or none.
type finxFaults struct {
	active map[int]finxtest.Fault
	next   int
}

func (f *finxFaults) add(w *world, fault finxtest.Fault) (end func()) {
	if f.active == nil {
		f.active = map[int]finxtest.Fault{}
	}
	id := f.next
	f.next++
	f.active[id] = fault
	f.apply(w)
	return func() {
		delete(f.active, id)
		f.apply(w)
	}
}

func (f *finxFaults) apply(w *world) {
	w.sandbox.ClearFaults()
	for id := range f.next {
		if fault, ok := f.active[id]; ok {
			if _, err := w.sandbox.AddFault(fault); err != nil {
				w.t.Error(err)
			}
		}
	}
}
