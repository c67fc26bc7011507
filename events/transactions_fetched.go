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
	// Oversize are the transactions of this part that lie in the object store,
	// in the order of their index. Nil when there are none.
	Oversize     []OversizeObject
	Transactions []byte // the others: finX's objects as received, joined by commas, without brackets
}

// OversizeObject refers to a transaction that is too large for a part. The
// object holds its bytes as received.
type OversizeObject struct {
	Object string `json:"object"` // name in the bucket; made of the digest, so it names nobody
	Bucket string `json:"bucket"`
	SHA256 string `json:"sha256"` // of the object, hexadecimal
	Bytes  int    `json:"bytes"`
	Index  int    `json:"index"` // place in the part's whole list of transactions, from 0
}

// NewOversizeObject returns the reference to the object with that digest.
func NewOversizeObject(sum [sha256.Size]byte, size, index int) OversizeObject {
	digest := hex.EncodeToString(sum[:])
	return OversizeObject{Object: "sha256-" + digest, Bucket: ObjectsOversize, SHA256: digest, Bytes: size, Index: index}
}

// MaxOversizeBytes is an upper bound of what one OversizeObject adds to an event.
const MaxOversizeBytes = 320

// Window is the span of a fetch. An empty end is open.
type Window struct {
	Since string `json:"since"`
	Until string `json:"until"`
}

// NewTransactionsFetched makes the event. Its id comes from fetch, account,
// part and a digest of account, window and transactions, those in the object
// store by their digests: a repeated fetch of
// unchanged data is the same event, of changed data another one.
func NewTransactionsFetched(c Cause, d TransactionsFetched) Output {
	return NewTransactionsFetchedIn(nil, c, d)
}

// NewTransactionsFetchedIn is NewTransactionsFetched with Output.Data in buf,
// from its start, if it has the room. The output is good until buf is used again.
func NewTransactionsFetchedIn(buf []byte, c Cause, d TransactionsFetched) Output {
	if need := len(d.Account) + len(d.Transactions) + len(d.Oversize)*MaxOversizeBytes + len(d.UserID)*2 + 1024; cap(buf) < need {
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
	from := len(w.b)
	w.oversize(d.Oversize)
	refs := w.b[from:]
	w.name("transactions")
	w.b = append(append(append(w.b, '['), d.Transactions...), ']')
	return newOutput(TypeTransactionsFetched, c, d.ConnectionID, w.close(),
		d.FetchID, d.AccountID, strconv.Itoa(d.Part), d.digest(refs))
}

// oversize appends the references, nothing when there are none: an event without
// them is, to the byte, what it was before there were any.
func (w *writer) oversize(refs []OversizeObject) {
	if len(refs) == 0 {
		return
	}
	w.name("oversize")
	for i, r := range refs {
		o := openObject(append(w.b, "[,"[min(i, 1)]))
		o.text("object", r.Object)
		o.text("bucket", r.Bucket)
		o.text("sha256", r.SHA256)
		o.number("bytes", r.Bytes)
		o.number("index", r.Index)
		w.b = o.close()
	}
	w.b = append(w.b, ']')
}

// digest names the content: SHA-256 over the fields, each with its length.
func (d TransactionsFetched) digest(refs []byte) string {
	h := sha256.New()
	var length [8]byte
	write := func(part []byte) {
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		_, _ = h.Write(length[:]) // a hash never fails
		_, _ = h.Write(part)
	}
	for _, part := range [...][]byte{d.Account, []byte(d.Window.Since), []byte(d.Window.Until), d.Transactions} {
		write(part)
	}
	if len(refs) > 0 {
		write(refs)
	}
	return hex.EncodeToString(h.Sum(nil))
}
