package connection

import (
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// The lists inside a record are bounded, so that a connection of many years
// stays far below the size limit of a KV value.
const (
	MaxHistory     = 50 // steps kept, the oldest go first
	MaxDoneFetches = 32 // ids of finished fetches kept, the oldest go first
	MaxUnlisted    = 64 // accounts above which marks of accounts that are gone are dropped
	MaxSettled     = 32 // hashes of codes kept; a user who renews twice a year fills them in 16 years
)

// Record is what is known of one connection. It is a value: methods return a
// changed copy that shares no changed slice or map with the original. A Record
// may be read by many goroutines; it must not be changed while shared.
type Record struct {
	V         int       `json:"v"`  // layout version, see Version
	ID        string    `json:"id"` // connection id, a UUID
	UserID    string    `json:"user_id"`
	State     State     `json:"state"`
	Since     time.Time `json:"since,omitzero"` // when State was entered
	CreatedAt time.Time `json:"created_at,omitzero"`
	CauseID   string    `json:"cause_id,omitempty"` // id of the connect event

	Request     json.RawMessage `json:"request,omitempty"` // widget fields as sent to finX
	RedirectURI string          `json:"redirect_uri,omitempty"`
	OAuthState  string          `json:"oauth_state,omitempty"` // the state parameter of the link
	FlowID      string          `json:"flow_id,omitempty"`
	TrackingID  string          `json:"tracking_id,omitempty"`

	Scope             string    `json:"scope,omitempty"`
	EstablishedAt     time.Time `json:"established_at,omitzero"`
	RefreshObtainedAt time.Time `json:"refresh_obtained_at,omitzero"` // the 90 days of the refresh grant count from here
	ConsentedAt       time.Time `json:"consented_at,omitzero"`        // when the user last came back from the bank with a yes, see Consented
	EstablishedBy     string    `json:"established_by,omitempty"`     // SHA-256 of the code whose tokens are in custody, or the mark of a renewal without one
	SettledBy         []string  `json:"settled_by,omitempty"`         // the same for every callback whose end is known, newest first
	RenewalState      string    `json:"renewal_state,omitempty"`      // the state parameter of the renewal link that is out
	KeepAliveAt       time.Time `json:"keep_alive_at,omitzero"`       // what the keep-alive timer is set to; zero = there is none
	ExpiringTold      time.Time `json:"expiring_told,omitzero"`       // the end of the refresh token that was warned of, so that it is said once
	LastError         *Problem  `json:"last_error,omitempty"`

	Fetch       *OpenFetch             `json:"fetch,omitempty"` // the fetch under way
	LastFetch   *FetchSummary          `json:"last_fetch,omitempty"`
	NextFetchAt time.Time              `json:"next_fetch_at,omitzero"`
	Accounts    map[string]AccountMark `json:"accounts,omitempty"`     // by finX account id
	DoneFetches []string               `json:"done_fetches,omitempty"` // newest first
	History     []Step                 `json:"history,omitempty"`      // oldest first

	// extra holds members this program does not know, as they were read, so
	// that an older replica does not drop what a newer one wrote.
	extra map[string]json.RawMessage
}

// Problem is the last thing that went wrong. Detail is for people and must
// hold no secret; callers pass texts of this program's own error types, which
// are scrubbed.
type Problem struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
	Detail string    `json:"detail,omitempty"`
}

// Step is one move of the state machine.
type Step struct {
	From   State     `json:"from,omitempty"`
	To     State     `json:"to"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason,omitempty"`
}

// New returns the record of a connection that was just asked for, in the state
// Requested. The remaining fields are the caller's to fill.
func New(id, userID string, at time.Time) Record {
	return Record{
		V: Version, ID: id, UserID: userID,
		State: Requested, Since: at, CreatedAt: at,
		History: []Step{{To: Requested, At: at}},
	}
}

// Move returns r in the state to, entered at the given time. Moving to the
// state r is in already returns r unchanged, because a redelivered event asks
// for the same move again. Any other move outside the transition table is a
// *TransitionError.
func (r Record) Move(to State, at time.Time, reason string) (Record, error) {
	if r.State == to && to.Valid() {
		return r, nil
	}
	if !CanMove(r.State, to) {
		return r, &TransitionError{ID: r.ID, From: r.State, To: to}
	}
	steps := append(slices.Clone(r.History), Step{From: r.State, To: to, At: at, Reason: reason})
	r.History = steps[max(0, len(steps)-MaxHistory):]
	r.State, r.Since = to, at
	if to == Established {
		r.LastError = nil
		if r.EstablishedAt.IsZero() {
			r.EstablishedAt = at
		}
	}
	return r, nil
}

// Fail moves r to Failed and remembers why.
func (r Record) Fail(at time.Time, reason, detail string) (Record, error) {
	return r.endWith(Failed, Problem{At: at, Reason: reason, Detail: detail})
}

// RequireReauthorization moves r to ReauthorizationRequired and remembers why.
func (r Record) RequireReauthorization(at time.Time, reason, detail string) (Record, error) {
	return r.endWith(ReauthorizationRequired, Problem{At: at, Reason: reason, Detail: detail})
}

func (r Record) endWith(to State, p Problem) (Record, error) {
	next, err := r.Move(to, p.At, p.Reason)
	if err != nil {
		return r, err
	}
	next.LastError = &p
	return next, nil
}

// Consent returns r with the user's consent at the bank given at that time, unless
// a later one is known.
func (r Record) Consent(at time.Time) Record {
	if at.After(r.ConsentedAt) {
		r.ConsentedAt = at.UTC()
	}
	return r
}

// Consented returns when the user last gave the bank's consent. A record of before
// version 0.5 does not know; there it is when the connection was established, which
// every renewal moves as well. Zero when there was none yet.
func (r Record) Consented() time.Time {
	if r.ConsentedAt.IsZero() {
		return r.EstablishedAt
	}
	return r.ConsentedAt
}

// MarkSettled returns r with the code of that hash as one whose end is known:
// it is never sent to finX again, whoever delivers or replays its callback.
func (r Record) MarkSettled(codeSHA256 string) Record {
	r.SettledBy = pushed(r.SettledBy, codeSHA256, MaxSettled)
	return r
}

// Settled reports whether the end of that code is known.
func (r Record) Settled(codeSHA256 string) bool { return slices.Contains(r.SettledBy, codeSHA256) }

// pushed returns list with s first and nowhere else, at most limit long.
func pushed(list []string, s string, limit int) []string {
	out := make([]string, 0, min(len(list)+1, limit))
	out = append(out, s)
	for _, old := range list {
		if old != s && len(out) < limit {
			out = append(out, old)
		}
	}
	return out
}

// Note remembers a problem that leaves the state as it is, such as a failed
// fetch. The next successful fetch forgets it.
func (r Record) Note(at time.Time, reason, detail string) Record {
	r.LastError = &Problem{At: at, Reason: reason, Detail: detail}
	return r
}

// SetMark returns r with the mark of one account replaced.
func (r Record) SetMark(accountID string, m AccountMark) Record {
	marks := maps.Clone(r.Accounts)
	if marks == nil {
		marks = make(map[string]AccountMark, 1)
	}
	marks[accountID] = m
	r.Accounts = marks
	return r
}
