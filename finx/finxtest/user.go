package finxtest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// User shapes the data of one user.
type User struct {
	Shape
	ID string `json:"user_id"`
}

// user is what the sandbox knows of a user_id.
type user struct {
	id       string
	shape    Shape
	accesses []*access
	running  int // data calls at this moment
}

// access is a user's connection to one bank.
type access struct {
	id         string
	bank       *bank
	accounts   []*account
	approvedAt time.Time // the last consent; the bank's clock runs from here
	autoSync   bool      // credentials were saved
}

// userOf returns the user, made with the default shape when new. For holders of s.mu.
func (s *Sandbox) userOf(id string) *user {
	u, ok := s.users[id]
	if !ok {
		u = &user{id: id, shape: s.opts.Shape}
		s.users[id] = u
	}
	return u
}

// SetUser gives a user data of its own. For a user who is connected already the
// histories are made anew: ids of accounts stay, what Grow added is gone.
func (s *Sandbox) SetUser(u User) error {
	if u.ID == "" {
		return errors.New("finxtest: user_id: missing")
	}
	if err := u.validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.userOf(u.ID)
	known.shape = u.Shape.withDefaults()
	for _, acc := range known.accesses {
		acc.accounts = s.newAccounts(known, acc.bank)
	}
	return nil
}

// Grow books n new transactions, today by the sandbox's clock, on the user's
// n-th account (from 0, over all banks). What was there does not change.
func (s *Sandbox) Grow(userID string, account, n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.users[userID]
	if !ok {
		return errors.New("finxtest: user_id: unknown user")
	}
	if n < 0 || n > maxPerAccount {
		return fmt.Errorf("finxtest: transactions: %d is not in 0…%d", n, maxPerAccount)
	}
	for _, acc := range u.accesses {
		if account >= 0 && account < len(acc.accounts) {
			acc.accounts[account] = acc.accounts[account].grown(n, s.now())
			return nil
		}
		account -= len(acc.accounts)
	}
	return errors.New("finxtest: account: the user has no such account")
}

// offered returns the accounts that the widget shows at the chosen bank: those
// that the request asked for, or all. For holders of s.mu.
func (s *Sandbox) offered(fl *flow) []*account {
	all := s.newAccounts(s.userOf(fl.userID), fl.bank)
	want := func(a *account) bool {
		if fl.sync {
			return slices.Contains(fl.accountIDs, a.id)
		}
		return slices.ContainsFunc(fl.wanted, func(w string) bool {
			w = strings.ReplaceAll(w, " ", "")
			return w == a.iban || w == a.number
		})
	}
	if some := slices.DeleteFunc(slices.Clone(all), func(a *account) bool { return !want(a) }); len(some) > 0 {
		return some
	}
	return all
}

// connect records the human's consent for the accounts of these ids, or for all
// offered ones when ids is empty. Accounts consented to earlier stay. For
// holders of s.mu.
func (s *Sandbox) connect(fl *flow, ids []string) {
	u := s.userOf(fl.userID)
	i := slices.IndexFunc(u.accesses, func(a *access) bool { return a.bank == fl.bank })
	if i < 0 {
		acc := &access{id: idNumber("X", s.opts.Seed, u.id, fl.bank.ID), bank: fl.bank}
		i, u.accesses = len(u.accesses), append(u.accesses, acc)
	}
	acc := u.accesses[i]
	acc.approvedAt, acc.autoSync = s.now(), fl.saveSecrets || (fl.sync && acc.autoSync)
	for _, a := range s.offered(fl) {
		chosen := len(ids) == 0 || slices.Contains(ids, a.id)
		known := slices.ContainsFunc(acc.accounts, func(b *account) bool { return b.id == a.id })
		if chosen && !known {
			acc.accounts = append(acc.accounts, a)
		}
	}
	slices.SortFunc(acc.accounts, func(a, b *account) int { return a.ordinal - b.ordinal })
}

// account finds one of the user's accounts. For holders of Sandbox.mu.
func (u *user) account(id string) (*account, *access) {
	for _, acc := range u.accesses {
		for _, a := range acc.accounts {
			if a.id == id {
				return a, acc
			}
		}
	}
	return nil, nil
}

// accounts returns all of the user's accounts in a fixed order. For holders of Sandbox.mu.
func (u *user) accounts() []*account {
	var out []*account
	for _, acc := range u.accesses {
		out = append(out, acc.accounts...)
	}
	return out
}

// idNumber makes ids in finX's look, such as X998944684550094849.1.
func idNumber(letter string, seed uint64, names ...string) string {
	return fmt.Sprintf("%s%d.1", letter, seedOf(seed, append(names, letter)...)%1_000_000_000_000_000_000)
}

// newUUID returns a random UUID (version 4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
