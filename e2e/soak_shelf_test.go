package e2e_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
)

// shelf keeps the parts of fetches until their fetch is completed, and digests
// of the accounts from then on. It is safe for concurrent use.
type shelf struct {
	ctx     context.Context
	objects jetstream.ObjectStore
	ledger  *ledger

	mu      sync.Mutex
	parts   map[string]events.TransactionsFetched // by id, until completed
	used    map[string]bool                       // ids of parts of completed fetches
	again   int                                   // parts stored more than once
	fetches map[string]wholeFetch                 // by fetch id
}

// wholeFetch is what a completed fetch brought.
type wholeFetch struct {
	user     string
	accounts []wholeAccount
}

type wholeAccount struct {
	id           string
	window       events.Window
	digest       string
	transactions int
	oversize     int // of them, in the object store
}

func newShelf(ctx context.Context, objects jetstream.ObjectStore, l *ledger) *shelf {
	return &shelf{
		ctx: ctx, objects: objects, ledger: l,
		parts: map[string]events.TransactionsFetched{}, used: map[string]bool{}, fetches: map[string]wholeFetch{},
	}
}

func (s *shelf) put(o events.Output) {
	d, err := events.DecodeTransactionsFetched(o)
	if err != nil {
		s.ledger.trouble(fmt.Sprintf("part %s cannot be read: %v", o.ID, err))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.parts[o.ID]; there || s.used[o.ID] {
		s.again++
		return
	}
	s.parts[o.ID] = d
}

// complete looks for the parts that a fetch names and puts its accounts together.
func (s *shelf) complete(o events.Output, p payload) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.fetches[p.FetchID]; there {
		return // the same once more; under another id the ledger sees two ends
	}
	parts := map[string][]events.TransactionsFetched{}
	for _, id := range p.EventIDs {
		d, ok := s.parts[id]
		if !ok {
			s.ledger.trouble(fmt.Sprintf("fetch %s of connection %s names part %s, which is not there", p.FetchID, o.ConnectionID, id))
			continue
		}
		if d.FetchID != p.FetchID || d.ConnectionID != o.ConnectionID {
			s.ledger.trouble(fmt.Sprintf("fetch %s names part %s of fetch %s", p.FetchID, id, d.FetchID))
		}
		parts[d.AccountID] = append(parts[d.AccountID], d)
		delete(s.parts, id)
		s.used[id] = true
	}
	whole := wholeFetch{user: p.User}
	for _, said := range p.Accounts {
		account, err := s.whole(parts[said.AccountID])
		if err == nil && (account.transactions != said.Transactions || len(parts[said.AccountID]) != said.Parts) {
			err = fmt.Errorf("%d transactions in %d parts are there, %d in %d are said to be", account.transactions, len(parts[said.AccountID]), said.Transactions, said.Parts)
		}
		if err != nil {
			s.ledger.trouble(fmt.Sprintf("fetch %s, account %s: %v", p.FetchID, said.AccountID, err))
		}
		account.id = said.AccountID
		whole.accounts = append(whole.accounts, account)
		s.noteOversize(p.FetchID, account)
	}
	s.fetches[p.FetchID] = whole
}

// whole puts the parts of an account together.
func (s *shelf) whole(parts []events.TransactionsFetched) (wholeAccount, error) {
	var out wholeAccount
	sum := newStream()
	for i, d := range parts {
		if d.Part != i {
			return out, fmt.Errorf("part %d comes as number %d", d.Part, i)
		}
		out.window, out.oversize = d.Window, out.oversize+len(d.Oversize)
		objects, err := s.splice(d)
		if err != nil {
			return out, err
		}
		sum.take(objects)
	}
	out.digest, out.transactions = sum.String(), sum.count
	return out, nil
}

// splice returns the whole list of a part, with what lies in the object store.
func (s *shelf) splice(d events.TransactionsFetched) ([]byte, error) {
	if len(d.Oversize) == 0 {
		return d.Transactions, nil
	}
	var small []json.RawMessage
	if err := json.Unmarshal(slices.Concat([]byte{'['}, d.Transactions, []byte{']'}), &small); err != nil {
		return nil, err
	}
	list := make([][]byte, 0, len(small)+len(d.Oversize))
	for _, tx := range small {
		list = append(list, tx)
	}
	for _, ref := range d.Oversize {
		raw, err := s.object(ref.Object)
		if err != nil {
			return nil, fmt.Errorf("object %s: %w", ref.Object, err)
		}
		if sum := sha256.Sum256(raw); hex.EncodeToString(sum[:]) != ref.SHA256 || len(raw) != ref.Bytes || ref.Index > len(list) {
			return nil, fmt.Errorf("object %s is not what its part says", ref.Object)
		}
		list = slices.Insert(list, ref.Index, raw)
	}
	return bytes.Join(list, []byte{','}), nil
}

// object reads an object, through whatever happens to the broker.
func (s *shelf) object(name string) (raw []byte, err error) {
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	for {
		try, done := context.WithTimeout(ctx, 5*time.Second)
		raw, err = s.objects.GetBytes(try, name)
		done()
		if err == nil || ctx.Err() != nil {
			return raw, err
		}
		wait(ctx, 200*time.Millisecond)
	}
}

// noteOversize notes each transaction that a part refers to.
func (s *shelf) noteOversize(fetchID string, a wholeAccount) {
	for n := range a.oversize {
		id := oversizeID(fetchID, a.id, n)
		s.ledger.say(fact{id: id, typ: "object", cause: id}, "")
	}
}

// oversizeID names the n-th oversize transaction of an account in a fetch.
func oversizeID(fetchID, accountID string, n int) string {
	return fmt.Sprintf("%s/%s/%d", fetchID, accountID, n)
}

// left counts parts that belong to no completed fetch.
func (s *shelf) left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.parts)
}
