package events

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"
)

// TransactionsFetched is one part of the transactions of one account.
type TransactionsFetched struct {
	ConnectionID string
	UserID       string
	FetchID      string
	Trigger      string
	AccountID    string // for the id of the event; downstream reads account.account_id
	Account      []byte // finX's object as received
	Part         int    // per account, from 0
	Window       Window
	SyncedAt     string // as received from finX, "" = not told
	Transactions []byte // finX's objects as received, joined by commas, without brackets
}

// Window is the span of a fetch. An empty end is open.
type Window struct {
	Since string `json:"since"`
	Until string `json:"until"`
}

// NewTransactionsFetched makes the event. Its id comes from fetch, account,
// part and a digest of account, window and transactions: a repeated fetch of
// unchanged data is the same event, of changed data another one.
func NewTransactionsFetched(c Cause, d TransactionsFetched) Output {
	return NewTransactionsFetchedIn(nil, c, d)
}

// NewTransactionsFetchedIn is NewTransactionsFetched with Output.Data in buf,
// from its start, if it has the room. The output is good until buf is used again.
func NewTransactionsFetchedIn(buf []byte, c Cause, d TransactionsFetched) Output {
	if need := len(d.Account) + len(d.Transactions) + len(d.UserID)*2 + 1024; cap(buf) < need {
		buf = make([]byte, 0, need)
	}
	w := openOutputData(buf[:0], d.ConnectionID, d.UserID)
	w.text("fetch_id", d.FetchID)
	w.text("trigger", d.Trigger)
	w.raw("account", d.Account)
	w.number("part", d.Part)
	w.name("window")
	window := openObject(w.b)
	window.optional("since", d.Window.Since)
	window.optional("until", d.Window.Until)
	w.b = window.close()
	w.optional("synced_at", d.SyncedAt)
	w.name("transactions")
	w.b = append(append(append(w.b, '['), d.Transactions...), ']')
	return newOutput(TypeTransactionsFetched, c, d.ConnectionID, w.close(),
		d.FetchID, d.AccountID, strconv.Itoa(d.Part), d.digest())
}

// digest names the content: SHA-256 over the fields, each with its length.
func (d TransactionsFetched) digest() string {
	h := sha256.New()
	var length [8]byte
	for _, part := range [...][]byte{d.Account, []byte(d.Window.Since), []byte(d.Window.Until), d.Transactions} {
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		_, _ = h.Write(length[:]) // a hash never fails
		_, _ = h.Write(part)
	}
	return hex.EncodeToString(h.Sum(nil))
}
