package events

import "time"

// FetchCompleted says that a fetch is whole: all its parts are stored.
type FetchCompleted struct {
	ConnectionID string           `json:"connection_id"`
	UserID       string           `json:"user_id"`
	FetchID      string           `json:"fetch_id"`
	Trigger      string           `json:"trigger"`
	Accounts     []AccountFetched `json:"accounts"`
	Transactions int              `json:"transactions"` // of all accounts
	EventIDs     []string         `json:"event_ids"`    // of the parts that make up this fetch
	StartedAt    time.Time        `json:"started_at"`
	FinishedAt   time.Time        `json:"finished_at"`
}

// AccountFetched is one account's share of a fetch.
type AccountFetched struct {
	AccountID    string `json:"account_id"`
	Parts        int    `json:"parts"`
	Transactions int    `json:"transactions"`
	SyncedAt     string `json:"synced_at"` // as received from finX, "" = not told
}

// NewFetchCompleted makes the event. Its id comes from the fetch and the ids
// of its parts, so it stands for exactly this content.
func NewFetchCompleted(c Cause, d FetchCompleted) Output {
	w := openOutputData(nil, d.ConnectionID, d.UserID)
	w.text("fetch_id", d.FetchID)
	w.text("trigger", d.Trigger)
	w.name("accounts")
	w.b = append(w.b, '[')
	for i, a := range d.Accounts {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		o := openObject(w.b)
		o.text("account_id", a.AccountID)
		o.number("parts", a.Parts)
		o.number("transactions", a.Transactions)
		o.optional("synced_at", a.SyncedAt)
		w.b = o.close()
	}
	w.b = append(w.b, ']')
	w.number("transactions", d.Transactions)
	w.name("event_ids")
	w.b = append(w.b, '[')
	for i, id := range d.EventIDs {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.b = appendString(w.b, id)
	}
	w.b = append(w.b, ']')
	w.text("started_at", formatTime(d.StartedAt))
	w.text("finished_at", formatTime(d.FinishedAt))
	identity := append([]string{d.FetchID}, d.EventIDs...)
	return newOutput(TypeFetchCompleted, c, d.ConnectionID, w.close(), identity...)
}
