package connection

import (
	"slices"
	"time"
)

// Ask is the part of a sync request that chooses the window.
type Ask struct {
	Since string // YYYY-MM-DD, or empty
	Until string // the last day, YYYY-MM-DD; counts only with a Since that is not after it
	Full  bool   // the whole history
}

// OpenFetch is a fetch under way. It is stored before the first page is asked
// for, so that a redelivered request reads the same window again and its parts
// get the same ids.
type OpenFetch struct {
	ID        string    `json:"id"`
	Trigger   string    `json:"trigger"`
	Since     string    `json:"since,omitempty"` // as asked for; empty = by the marks
	Until     string    `json:"until"`           // YYYY-MM-DD
	StartedAt time.Time `json:"started_at"`
	Full      bool      `json:"full,omitempty"`
	Bounded   bool      `json:"bounded,omitempty"` // Until was asked for: the fetch says nothing about the days since
}

// FetchSummary is the last completed fetch.
type FetchSummary struct {
	ID           string    `json:"id"`
	Trigger      string    `json:"trigger"`
	StartedAt    time.Time `json:"started_at"`
	FinishedAt   time.Time `json:"finished_at"`
	Accounts     int       `json:"accounts"`
	Transactions int       `json:"transactions"`
}

// AccountMark says how far an account has been read. SyncedAt and SucceededAt
// are finX's own texts (finx-api: status.synced_at, status.succeeded_at) of the
// fetch that set the mark; Until is the end of that fetch's window.
type AccountMark struct {
	SyncedAt    string `json:"synced_at,omitempty"`
	SucceededAt string `json:"succeeded_at,omitempty"`
	Until       string `json:"until,omitempty"`
}

// OpenFetch returns r with the fetch id under way. A fetch of the same id that
// is open already stays as it was, with its window and start. A fetch of another
// id is given up: only one is run at a time, so it belonged to a process that died
// or to a request that ended in a dead letter.
func (r Record) OpenFetch(id, trigger string, ask Ask, at time.Time) Record {
	if r.Fetch != nil && r.Fetch.ID == id {
		return r
	}
	r.Fetch = &OpenFetch{
		ID: id, Trigger: trigger, Since: ask.Since, Full: ask.Full && ask.Since == "",
		Until: untilOf(at), StartedAt: at,
	}
	if ask.Since != "" && ask.Since <= ask.Until && ask.Until < r.Fetch.Until {
		r.Fetch.Until, r.Fetch.Bounded = ask.Until, true
	}
	return r
}

// CloseFetch returns r with its open fetch completed: read has a mark an
// account (Until is filled in here), transactions is the total. Accounts that
// were not read keep their marks. Without an open fetch r is returned as it is.
//
// The zero mark is of an account the bank has not delivered yet: without a mark
// the next fetch asks for its whole history again.
//
// A fetch with an explicit since that begins after the place an account's mark
// has reached leaves that mark alone: moving it would skip the days between. So
// does one that was told where to end: it has not seen what came after.
func (r Record) CloseFetch(at time.Time, read map[string]AccountMark, transactions int) Record {
	f := r.Fetch
	if f == nil {
		return r
	}
	for id, m := range read {
		if m == (AccountMark{}) {
			continue // nothing was there to hold on to, see below
		}
		m = m.bounded()
		old, seen := r.Accounts[id]
		if !f.leavesNoGap(old, seen) {
			if seen {
				old.SyncedAt = m.SyncedAt
				r = r.SetMark(id, old)
			}
			continue
		}
		m.Until = f.Until
		r = r.SetMark(id, m)
	}
	r = r.forgetUnlisted(read)
	r.LastFetch = &FetchSummary{
		ID: f.ID, Trigger: f.Trigger, StartedAt: f.StartedAt, FinishedAt: at,
		Accounts: len(read), Transactions: transactions,
	}
	r.Fetch, r.LastError = nil, nil
	return r.MarkFetchDone(f.ID)
}

// forgetUnlisted drops the marks of accounts that finX does not list any more,
// once there are more than a user has: a record must not outgrow what a store
// takes, and an account that comes back is read from its beginning.
func (r Record) forgetUnlisted(read map[string]AccountMark) Record {
	if len(r.Accounts) <= MaxUnlisted {
		return r
	}
	marks := make(map[string]AccountMark, len(read))
	for id, m := range r.Accounts {
		if _, listed := read[id]; listed {
			marks[id] = m
		}
	}
	r.Accounts = marks
	return r
}

// leavesNoGap reports whether the window of f begins no later than the place
// that old has reached, and ends today.
func (f OpenFetch) leavesNoGap(old AccountMark, seen bool) bool {
	if f.Bounded {
		return false
	}
	if f.Since == "" {
		return true // by the marks, or everything
	}
	since, ok := ParseTimestamp(f.Since)
	if !ok || !seen {
		return false
	}
	reached, ok := old.reached()
	return ok && !since.After(reached)
}

// maxTimestamp is longer than any timestamp; a longer text is no time and is not kept.
const maxTimestamp = 64

// bounded returns m with texts that are no timestamps left out.
func (m AccountMark) bounded() AccountMark {
	for _, s := range []*string{&m.SyncedAt, &m.SucceededAt, &m.Until} {
		if len(*s) > maxTimestamp {
			*s = ""
		}
	}
	return m
}

// MarkFetchDone returns r with id as its newest finished fetch.
func (r Record) MarkFetchDone(id string) Record {
	r.DoneFetches = pushed(r.DoneFetches, id, MaxDoneFetches)
	return r
}

// FetchDone reports whether the fetch id is among the finished ones that are
// still remembered.
func (r Record) FetchDone(id string) bool { return slices.Contains(r.DoneFetches, id) }
