package main

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// config is what the flags say.
type config struct {
	rounds       int
	callbacks    int
	transactions int
	page         int
	slots        []int
	forCallbacks int // of the slots
	latencies    []time.Duration
	sides        []side
	only         string
	vault        string
	output       string
	connector    string
	profile      string
	wire         bool
	update       bool
	syncAlways   bool
	sabotage     bool
}

// Values of -o, -vault and -only.
const (
	outputText, outputJSON = "text", "json"
	vaultStub, vaultCore   = "stub", "core"
	callbacks, streaming   = "callbacks", "streaming"
)

// The transactions of one callback: two pages, the second one short, so that
// nobody has to ask for a third to know that there is none.
const (
	callbackTransactions = 199
	callbackPage         = 100
)

func parse(args []string, stderr io.Writer) (config, error) {
	var c config
	var slots, latencies, sides string
	var quick bool
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.IntVar(&c.rounds, "rounds", 5, "rounds that count; one more before them warms up")
	fs.IntVar(&c.callbacks, "callbacks", 1500, "callbacks in a round; fewer where finX is slow")
	fs.IntVar(&c.transactions, "transactions", 200_000, "transactions of the account that is streamed; up to 1000000")
	fs.IntVar(&c.page, "page", 1000, "transactions in a page of it")
	fs.StringVar(&slots, "slots", "16", "comma list: callbacks under way at once")
	fs.IntVar(&c.forCallbacks, "callback-slots", 0, "how many of -slots are for callbacks, the rest being for fetches; 0 is a quarter, as of the calls of finX")
	fs.StringVar(&latencies, "latency", "0,50ms", "comma list: how long finX takes for a call")
	fs.StringVar(&sides, "sides", "ours,bare,same", "comma list of who is measured")
	fs.StringVar(&c.only, "only", "", "callbacks or streaming; empty is both")
	fs.StringVar(&c.vault, "vault", vaultStub, "stub: a KV v2 endpoint in memory; core: the real Vault core with raft storage")
	fs.StringVar(&c.output, "o", outputText, "text or json")
	fs.StringVar(&c.connector, "connector", "", "a finx-connector that is built already")
	fs.StringVar(&c.profile, "profile", "", "directory for CPU profiles of ours (pprof), one a scenario; its figures then include the profiler")
	fs.BoolVar(&c.wire, "wire", true, "count the calls a callback makes")
	fs.BoolVar(&c.update, "update", false, "write the figures into docs/benchmarks.md")
	fs.BoolVar(&c.syncAlways, "sync-always", false, "the broker syncs every write to disk")
	fs.BoolVar(&quick, "quick", false, "two short rounds: shows that all works, its figures are worth little")
	fs.BoolVar(&c.sabotage, "sabotage", false, "let the floors lose a transaction, to see that it is noticed")
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	if quick {
		given := map[string]bool{}
		fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
		c.shorten(given)
	}
	return c, c.check(fs.Args(), slots, latencies, sides)
}

// shorten makes short work of what was not asked for by name.
func (c *config) shorten(given map[string]bool) {
	short := func(name string, at *int, n int) {
		if !given[name] {
			*at = n
		}
	}
	short("rounds", &c.rounds, 2)
	short("callbacks", &c.callbacks, 200)
	short("transactions", &c.transactions, 20_000)
}

func (c *config) check(rest []string, slots, latencies, sides string) error {
	if len(rest) > 0 {
		return fmt.Errorf("%q is not understood: there are only flags", rest[0])
	}
	const most = 1_000_000
	for _, n := range []struct {
		name    string
		v, most int
	}{{"rounds", c.rounds, 100}, {"callbacks", c.callbacks, 100_000}, {"transactions", c.transactions, most}, {"page", c.page, 100_000}} {
		if n.v < 1 || n.v > n.most {
			return fmt.Errorf("-%s: 1 to %d", n.name, n.most)
		}
	}
	for _, w := range []struct {
		name, v string
		allowed []string
	}{
		{"only", c.only, []string{"", callbacks, streaming}},
		{"vault", c.vault, []string{vaultStub, vaultCore}},
		{"o", c.output, []string{outputText, outputJSON}},
	} {
		if !slices.Contains(w.allowed, w.v) {
			return fmt.Errorf("-%s: one of %s", w.name, strings.Join(w.allowed, ", "))
		}
	}
	return c.lists(slots, latencies, sides)
}

// lists reads the flags that have several values.
func (c *config) lists(slots, latencies, sides string) error {
	for text := range strings.SplitSeq(slots, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 4 || n > 1024 {
			return fmt.Errorf("-slots: 4 to 1024, not %q", text)
		}
		if c.forCallbacks < 0 || c.forCallbacks >= n {
			return fmt.Errorf("-callback-slots: fewer than the %d of -slots", n)
		}
		c.slots = append(c.slots, n)
	}
	for text := range strings.SplitSeq(latencies, ",") {
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 || d > time.Minute {
			return fmt.Errorf("-latency: 0 to 1m, not %q", text)
		}
		c.latencies = append(c.latencies, d)
	}
	for text := range strings.SplitSeq(sides, ",") {
		s := side(text)
		if !slices.Contains(allSides(), s) || slices.Contains(c.sides, s) {
			return fmt.Errorf("-sides: of ours, bare and same each once, not %q", text)
		}
		c.sides = append(c.sides, s)
	}
	return nil
}

// scenarios lists what is measured, in order.
func (c *config) scenarios() []scenario {
	var all []scenario
	for _, latency := range c.latencies {
		for _, slots := range c.slots {
			if c.only == streaming {
				continue
			}
			s := scenario{Kind: callbacks, Slots: slots, Latency: latency, Events: c.callbacks, Transactions: callbackTransactions, Page: callbackPage}
			if latency > 0 {
				// Some five seconds: time goes by in waiting, and more of it says nothing new.
				s.Events = min(c.callbacks, max(slots, int(5*time.Second/(latency*finXCalls))*slots))
			}
			all = append(all, s)
		}
	}
	if c.only != callbacks {
		all = append(all, scenario{Kind: streaming, Slots: 4, Events: 1, Transactions: c.transactions, Page: c.page})
	}
	return all
}

// finXCalls is how often finX is called for a callback: token, accounts, two pages.
const finXCalls = 4

// scenario is one thing that is measured on every side.
type scenario struct {
	Kind         string        `json:"kind"`
	Slots        int           `json:"slots"`
	Latency      time.Duration `json:"latency_ns"`
	Events       int           `json:"events"` // callbacks in a round
	Transactions int           `json:"transactions"`
	Page         int           `json:"page"`

	accessLifetime time.Duration // of the sandbox's access tokens; 0 is its default
}

func (s scenario) String() string {
	if s.Kind == streaming {
		return fmt.Sprintf("one account of %d transactions, pages of %d", s.Transactions, s.Page)
	}
	return fmt.Sprintf("%d callbacks, %d at once, finX takes %s a call", s.Events, s.Slots, s.Latency)
}
