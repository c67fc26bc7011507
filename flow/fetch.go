package flow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// fetch is one run over all accounts of a connection.
type fetch struct {
	*Flow
	cause events.Cause
	rec   connection.Record
	grant custody.Grant
	slack time.Duration // see use
	bytes int64         // of the transactions read
}

// fetched is what a whole fetch leaves to say.
type fetched struct {
	accounts          []events.AccountFetched
	marks             map[string]connection.AccountMark
	transactions      int
	bytes             int64
	eventIDs          []string
	refreshObtainedAt time.Time
}

// run reads every account and hands its transactions on, page by page.
func (j *fetch) run(ctx context.Context) (fetched, error) {
	var accounts []finx.Account
	err := j.withToken(ctx, func() (err error) {
		accounts, err = j.Data.Accounts(ctx, j.grant.AccessToken)
		return err
	})
	if err != nil {
		return fetched{}, fmt.Errorf("flow: listing the accounts: %w", err)
	}
	open := j.rec.Fetch
	parts := j.Bus.NewFetch(FetchMeta{
		Cause: j.cause, ConnectionID: j.rec.ID, UserID: j.rec.UserID, FetchID: open.ID, Trigger: open.Trigger,
	})
	defer parts.Close()
	out := fetched{accounts: []events.AccountFetched{}, marks: map[string]connection.AccountMark{}}
	err = j.transfer(ctx, j.histories(accounts), parts, func(h *history, result events.AccountFetched) {
		out.accounts = append(out.accounts, result)
		out.transactions += result.Transactions
		out.marks[h.ID] = markOf(h.Account, result.Transactions)
	})
	if err != nil {
		return fetched{}, err
	}
	out.eventIDs = parts.Close()
	out.refreshObtainedAt, out.bytes = j.grant.RefreshObtainedAt, j.bytes
	return out, nil
}

// history is what a fetch reads of one account.
type history struct {
	finx.Account

	since, until string
}

// histories says what is to be read of the accounts, each once.
func (j *fetch) histories(accounts []finx.Account) []history {
	open, seen := j.rec.Fetch, map[string]bool{}
	var all []history
	for _, a := range accounts {
		if seen[a.ID] {
			continue
		}
		seen[a.ID] = true
		since, until := j.rec.NextWindow(a.ID, open.StartedAt, j.Overlap, connection.Ask{Since: open.Since, Full: open.Full})
		all = append(all, history{Account: a, since: since, until: until})
	}
	return all
}

// markOf is how far an account has been read. One without transactions that the
// bank has never delivered has been read nowhere: its history is still to come.
func markOf(a finx.Account, transactions int) connection.AccountMark {
	if _, delivered := connection.ParseTimestamp(a.SucceededAt); !delivered && transactions == 0 {
		return connection.AccountMark{}
	}
	return connection.AccountMark{SyncedAt: a.SyncedAt, SucceededAt: a.SucceededAt}
}

// isLast decides whether a page ends its account. finX's largest page is not
// documented, and a host that silently gives fewer than asked for would make
// every history end early. A short page is believed when this process has seen
// a full one of that size, when an earlier page of the account was longer, or
// when its length is not a round number, which every cap is; else the next page
// is asked for, and an empty one is the proof.
func (j *fetch) isLast(n, size, longest int) bool {
	if n >= size {
		for seen := j.honoured.Load(); int64(size) > seen; seen = j.honoured.Load() {
			if j.honoured.CompareAndSwap(seen, int64(size)) {
				break
			}
		}
		return false
	}
	return n == 0 || n < longest || int64(size) <= j.honoured.Load() || n%capUnit != 0
}

// capUnit divides every page size somebody would choose as a cap.
const capUnit = 10

// withToken runs a call with a live access token. A long fetch outlives its
// token, so the token is looked at before every call; one that finX refuses
// before its time is replaced once.
func (j *fetch) withToken(ctx context.Context, call func() error) error {
	if time.Until(j.grant.ExpiresAt) <= j.slack {
		grant, err := j.Tokens.Access(ctx, j.rec.ID)
		if err != nil {
			return fmt.Errorf("getting an access token: %w", err)
		}
		j.use(grant)
	}
	err := call()
	if !errors.Is(err, finx.ErrUnauthorized) {
		return err
	}
	grant, renewErr := j.Tokens.Renew(ctx, j.rec.ID, j.grant.AccessToken)
	if renewErr != nil {
		return fmt.Errorf("renewing the access token: %w", renewErr)
	}
	j.use(grant)
	if err = call(); !errors.Is(err, finx.ErrUnauthorized) {
		return err
	}
	if !time.Now().Before(j.grant.ExpiresAt) {
		// It died on the way: in a queue, or as an answer given again by a finX that
		// had lost the first. An attempt, because a host may say so for ever.
		return fault.Transient("", fmt.Errorf("the new access token came to its end before it was used: %w", err))
	}
	// A token fresh from finX is refused: asking again brings the same.
	return fault.Permanent(fault.Rejected, err)
}

// use takes a new grant. A token that lives shorter than the slack is used for
// half its life, or every call would ask for another.
func (j *fetch) use(grant custody.Grant) {
	j.grant, j.slack = grant, min(tokenSlack, time.Until(grant.ExpiresAt)/2)
}

// tokenSlack is how long an access token must still live for one more call
// with it to make sense; custody's own skew is longer.
const tokenSlack = 30 * time.Second
