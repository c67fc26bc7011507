package finx_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/guard"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// finX says that it works and answers no call, and each exchange would take effect
// and lose its answer. The code that waits is not sent before a link was made again.
func TestAnOutageBurnsNoCode(t *testing.T) {
	const redirect = "https://app.example/cb"
	sandbox, base := finxtest.Start(t, finxtest.Options{ClientID: clientID, ClientSecret: canaryClientSecret})
	var c *finx.Client
	g, err := guard.New(guard.Config{
		Name: "finx", First: 100 * time.Millisecond, Max: 200 * time.Millisecond,
		ProbeWith: func(ctx context.Context) error { return c.Probe(ctx) },
	})
	if err != nil {
		t.Fatal(err)
	}
	c = newClient(t, base, func(cfg *finx.Config) { cfg.Gate = g })
	link := func(ctx context.Context) (finx.Link, error) {
		return c.CreateAccess(ctx, finx.AccessRequest{RedirectURI: redirect, UserID: "u-1", State: "s-1"})
	}
	made, err := link(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	back, err := sandbox.Approve(made.Location.Reveal())
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	work.Go(func() { g.Run(ctx) })
	for _, f := range []finxtest.Fault{{Call: "access", Status: 500}, {Call: "token", Drop: "after"}} {
		if _, err := sandbox.AddFault(f); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		_, _ = link(ctx)
	}
	if !g.Status().Open {
		t.Fatal("five failures open nothing")
	}
	work.Go(func() {
		for ctx.Err() == nil {
			_, err := link(ctx)
			comeBack(ctx, err)
		}
	})
	exchanged := make(chan error, 1)
	work.Go(func() {
		for {
			admitted, release, err := c.AdmitToken(ctx, true)
			if err == nil {
				_, err = c.ExchangeCode(admitted, secretOf(back.Query().Get("code")), redirect)
				release()
			}
			if fault.Of(err) != fault.WaitUntil || ctx.Err() != nil {
				exchanged <- err
				return
			}
			comeBack(ctx, err)
		}
	})
	// A trial takes 200 ms on average, so these are longer than the 3 s for which an
	// exchange gives way where nothing else waits.
	const trials = 20
	natstest.Eventually(t, time.Minute, func() bool { return sandbox.Stats().Calls["access"][500] >= 5+trials }, "trials")
	calls := sandbox.Stats().Calls
	if calls["token.exchange"] != nil || calls["categories"][200] < trials {
		t.Errorf("calls while finX only says that it works: %v", calls)
	}
	if n := calls["access"][500] - 5; n > calls["categories"][200] {
		t.Errorf("%d calls found out in vain, after %d probes", n, calls["categories"][200])
	}
	sandbox.ClearFaults()
	if err := <-exchanged; err != nil {
		t.Errorf("the exchange when finX works again: %v", err)
	}
	if n := sandbox.Stats().Calls["token.exchange"][200]; n != 1 {
		t.Errorf("%d exchanges", n)
	}
}

// comeBack waits until the call may be made again.
func comeBack(ctx context.Context, err error) {
	wait := 10 * time.Millisecond
	if until, ok := fault.Until(err); ok {
		wait = max(wait, time.Until(until))
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
	}
}
