package flow_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/flow"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// A host that gives fewer than asked for without saying so must not make every
// history end with its first page.
func TestACappedPageIsNotTheLast(t *testing.T) {
	r := newRig(t, finxtest.Options{MaxCount: 20, Shape: finxtest.Shape{Accounts: 2, PerAccount: []int{120, 45}}})
	rec := r.established()
	r.must(r.sync("sync-1", events.SyncRequested{ConnectionID: rec.ID}))
	if c := r.completed(); len(c) != 1 || c[0].Transactions != 165 {
		t.Errorf("completed %+v, want 165 transactions", c)
	}
}

// Once a full page was seen, a short one is believed: no call is wasted.
func TestAShortPageIsTheLast(t *testing.T) {
	r := newRig(t, finxtest.Options{Shape: finxtest.Shape{Accounts: 2, PerAccount: []int{60, 20}}})
	rec := r.established()
	r.must(r.sync("sync-1", events.SyncRequested{ConnectionID: rec.ID}))
	if n := r.sandbox.Stats().Total("transactions"); n != 3 {
		t.Errorf("%d pages were asked for, want 2 of the first account and 1 of the second", n)
	}
}

// lateBank has an account that the bank delivers only after the first fetch.
type lateBank struct {
	flow.Data
	delivered *bool
}

func (b lateBank) Accounts(ctx context.Context, access secret.Text) ([]finx.Account, error) {
	all, err := b.Data.Accounts(ctx, access)
	if !*b.delivered {
		for i := range all {
			all[i].SucceededAt = ""
		}
	}
	return all, err
}

func (b lateBank) Transactions(ctx context.Context, access secret.Text, q finx.TransactionQuery, buf *finx.PageBuffer) (finx.Page, error) {
	if !*b.delivered {
		return finx.Page{}, nil
	}
	return b.Data.Transactions(ctx, access, q, buf)
}

func TestAnAccountTheBankHasNotDeliveredYetKeepsItsHistory(t *testing.T) {
	var delivered bool
	r := newRig(t, finxtest.Options{Shape: finxtest.Shape{Accounts: 1, Transactions: 80}}, func(c *flow.Config) { c.Data = lateBank{c.Data, &delivered} })
	rec := r.established()
	r.must(r.sync("sync-1", events.SyncRequested{ConnectionID: rec.ID}))
	delivered = true
	r.must(r.sync("sync-2", events.SyncRequested{ConnectionID: rec.ID}))
	if c := r.completed(); len(c) != 2 || c[0].Transactions != 0 || c[1].Transactions != 80 {
		t.Errorf("completed %+v, want none and then the whole history", c)
	}
}

// A fetch that failed for good is over: its redelivery says nothing else.
func TestAFailedFetchIsToldOnce(t *testing.T) {
	r := newRig(t, finxtest.Options{Shape: finxtest.Shape{Accounts: 1, Transactions: 10}})
	rec := r.established()
	r.sandbox.RevokeUser(userID)
	for range 3 {
		r.must(r.sync("sync-1", events.SyncRequested{ConnectionID: rec.ID}))
	}
	if got := r.reasons(events.TypeFetchFailed); !slices.Equal(got, []string{"reauthorization_required"}) {
		t.Errorf("fetch.failed %v, want one", got)
	}
	if n := len(r.reasons(events.TypeReauthorizationRequired)); n != 1 {
		t.Errorf("%d reauthorization.required, want 1", n)
	}
}

// A renewal link is made under one state, however often the job dies.
func TestARenewalHasOneState(t *testing.T) {
	r := newRig(t, finxtest.Options{Shape: finxtest.Shape{Accounts: 1, Transactions: 10}})
	rec := r.established()
	r.sandbox.RevokeUser(userID)
	r.bus.failOn(events.TypeReauthorizationRequired)
	states := map[string]bool{}
	for range 3 {
		if err := r.sync("sync-1", events.SyncRequested{ConnectionID: rec.ID}); !errors.Is(err, errBus) {
			t.Fatalf("error %v", err)
		}
		states[r.record(rec.ID).RenewalState] = true
	}
	if len(states) != 1 || states[""] {
		t.Errorf("%d states for one renewal", len(states))
	}
}

// Two fetches that both fail must not take each other's window away.
func TestAnOpenFetchIsFinishedFirst(t *testing.T) {
	r := newRig(t, finxtest.Options{Shape: finxtest.Shape{Accounts: 1, Transactions: 10}})
	rec := r.established()
	r.bus.failOn(events.TypeFetchCompleted)
	if err := r.sync("sync-1", events.SyncRequested{ConnectionID: rec.ID}); !errors.Is(err, errBus) {
		t.Fatalf("error %v", err)
	}
	opened := *r.record(rec.ID).Fetch
	if err := r.sync("sync-2", events.SyncRequested{ConnectionID: rec.ID}); fault.Of(err) != fault.WaitUntil {
		t.Errorf("error %v, want one that waits", err)
	}
	if now := *r.record(rec.ID).Fetch; now != opened {
		t.Errorf("the open fetch is %+v, was %+v", now, opened)
	}
	r.bus.failOn("")
	r.must(r.sync("sync-1", events.SyncRequested{ConnectionID: rec.ID}))
	r.must(r.sync("sync-2", events.SyncRequested{ConnectionID: rec.ID}))
}

// Where a part ends is a matter of the transactions, not of the pages in which
// they came: a host that caps its pages between two tries changes no id.
func TestPartsDoNotDependOnThePages(t *testing.T) {
	r := newRig(t, finxtest.Options{Shape: finxtest.Shape{Accounts: 2, Transactions: 700}})
	rec := r.established()
	r.bus.failOn(events.TypeFetchCompleted)
	var first []string
	for _, size := range []int{50, 333, 1000, 7} {
		cfg := r.cfg
		cfg.PageSize = size
		var err error
		r.Flow, err = flow.New(cfg)
		r.must(err)
		if err := r.sync("sync-1", events.SyncRequested{ConnectionID: rec.ID}); !errors.Is(err, errBus) {
			t.Fatalf("error %v", err)
		}
		now := ids(r.published(events.TypeTransactionsFetched))
		if first == nil {
			first = now
		}
		if !slices.Equal(now, first) || len(now) < 6 {
			t.Errorf("pages of %d: %d parts are stored, %d after pages of 50", size, len(now), len(first))
		}
	}
}
