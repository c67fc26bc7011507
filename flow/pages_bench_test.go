package flow_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/flow"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// turns makes a fetch do one thing at a time, as it could without a side of its
// own for reading: a page is asked for when the one before it is published.
type turns struct {
	flow.Data
	flow.Bus
	flow.Parts

	next chan struct{}
}

func (t *turns) NewFetch(m flow.FetchMeta) flow.Parts {
	t.Parts, t.next = t.Bus.NewFetch(m), make(chan struct{}, 1)
	t.next <- struct{}{}
	return t
}

func (t *turns) Transactions(ctx context.Context, access secret.Text, q finx.TransactionQuery, buf *finx.PageBuffer) (finx.Page, error) {
	<-t.next
	return t.Data.Transactions(ctx, access, q, buf)
}

func (t *turns) AddPage(ctx context.Context, transactions [][]byte, more bool) error {
	err := t.Parts.AddPage(ctx, transactions, more)
	t.next <- struct{}{}
	return err
}

// BenchmarkHistory fetches an account of 20,000 transactions, in pages of 1,000,
// over HTTP from the sandbox into a real broker, in turns with the same fetch that
// does one thing at a time. Its metrics are the time of each and the quotient.
func BenchmarkHistory(b *testing.B) {
	for _, c := range []struct {
		name  string
		delay time.Duration
	}{{"50ms a page", 50 * time.Millisecond}, {"10ms a page", 10 * time.Millisecond}, {"fast pages", 0}} {
		b.Run(c.name, func(b *testing.B) { benchHistory(b, c.delay) })
	}
}

func benchHistory(b *testing.B, delay time.Duration) {
	b.Helper()
	r := newRig(b, finxtest.Options{Shape: finxtest.Shape{Accounts: 1, Transactions: 20_000}}, func(c *flow.Config) {
		c.PageSize = 1000
	})
	if delay > 0 {
		_, err := r.sandbox.AddFault(finxtest.Fault{Call: "transactions", Delay: finxtest.Duration(delay)})
		r.must(err)
	}
	rec := r.established()
	cfg := r.cfg
	slow := &turns{Data: cfg.Data, Bus: cfg.Bus}
	cfg.Data, cfg.Bus = slow, slow
	inTurns, err := flow.New(cfg)
	r.must(err)
	run := func(f *flow.Flow, id string) time.Duration {
		began := time.Now()
		r.must(f.SyncRequested(b.Context(), event(id), events.SyncRequested{ConnectionID: rec.ID, Full: true}))
		took := time.Since(began)
		s, err := r.js.Stream(b.Context(), events.StreamEvents)
		r.must(err)
		r.must(s.Purge(b.Context()))
		return took
	}
	run(r.Flow, "first") // from here on full pages have been seen
	run(inTurns, "first in turns")
	var one, both time.Duration
	for n := 0; b.Loop(); n++ {
		one += run(inTurns, "turns-"+strconv.Itoa(n))
		both += run(r.Flow, "sides-"+strconv.Itoa(n))
	}
	perRun := func(d time.Duration) float64 { return float64(d.Milliseconds()) / float64(b.N) }
	b.ReportMetric(perRun(one), "one-at-a-time-ms")
	b.ReportMetric(perRun(both), "overlapped-ms")
	b.ReportMetric(float64(one)/float64(both), "gain")
	b.ReportMetric(0, "ns/op") // of both together, which is nobody's time
}
