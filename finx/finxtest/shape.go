package finxtest

import "fmt"

// Shape says how much data a user has at each bank. The zero value stands for
// the default: 3 accounts, 240 transactions together, 2 pending an account.
type Shape struct {
	// Accounts a bank shows.
	Accounts int `json:"accounts"`
	// Transactions in total, spread evenly over the accounts that are not empty.
	Transactions int `json:"transactions"`
	// PerAccount overrides Transactions: the n-th account has PerAccount[n].
	PerAccount []int `json:"per_account,omitempty"`
	// EmptyAccounts is how many, counted from the last, have no transactions.
	EmptyAccounts int `json:"empty_accounts,omitempty"`
	// Pending transactions of each account that is not empty.
	Pending int `json:"pending"`
	// Days the history reaches back (default 90, finX's default sync_period).
	Days int `json:"days,omitempty"`
	// ObjectBytes is the least size of a transaction object; 0: about 800 bytes.
	ObjectBytes int `json:"object_bytes,omitempty"`
	// BigEvery and BigBytes give every n-th transaction a size of its own.
	BigEvery int `json:"big_every,omitempty"`
	BigBytes int `json:"big_bytes,omitempty"`
	// HugeBytes are the sizes of single transactions of the first account, spread
	// evenly over its history.
	HugeBytes []int `json:"huge_bytes,omitempty"`
}

// Limits that keep one call from eating the machine.
const (
	maxAccounts    = 1000
	maxPerAccount  = 10_000_000
	maxPending     = 10_000
	maxObjectBytes = 32 << 20
	maxHuge        = 100
)

func (s Shape) isZero() bool {
	return s.Accounts == 0 && s.Transactions == 0 && len(s.PerAccount) == 0 && s.Pending == 0
}

func (s Shape) withDefaults() Shape {
	if s.isZero() {
		s.Accounts, s.Transactions, s.Pending = 3, 240, 2
	}
	s.Accounts = max(s.Accounts, len(s.PerAccount))
	if s.Accounts == 0 {
		s.Accounts = 1
	}
	if s.Days == 0 {
		s.Days = 90
	}
	return s
}

func (s Shape) validate() error {
	check := func(name string, v, most int) error {
		if v < 0 || v > most {
			return fmt.Errorf("finxtest: %s: %d is not in 0…%d", name, v, most)
		}
		return nil
	}
	for _, c := range []struct {
		name    string
		v, most int
	}{
		{"accounts", s.Accounts, maxAccounts},
		{"transactions", s.Transactions, maxPerAccount},
		{"empty_accounts", s.EmptyAccounts, maxAccounts},
		{"pending", s.Pending, maxPending},
		{"days", s.Days, 36500},
		{"object_bytes", s.ObjectBytes, maxObjectBytes},
		{"big_every", s.BigEvery, maxPerAccount},
		{"big_bytes", s.BigBytes, maxObjectBytes},
		{"per_account", len(s.PerAccount), maxAccounts},
		{"huge_bytes", len(s.HugeBytes), maxHuge},
	} {
		if err := check(c.name, c.v, c.most); err != nil {
			return err
		}
	}
	for _, n := range s.PerAccount {
		if err := check("per_account", n, maxPerAccount); err != nil {
			return err
		}
	}
	for _, n := range s.HugeBytes {
		if err := check("huge_bytes", n, maxObjectBytes); err != nil {
			return err
		}
	}
	return nil
}

// booked returns the number of booked transactions of the n-th account.
func (s Shape) booked(n int) int {
	if s.empty(n) {
		return 0
	}
	if len(s.PerAccount) > 0 {
		if n < len(s.PerAccount) {
			return s.PerAccount[n]
		}
		return 0
	}
	full := s.Accounts - s.EmptyAccounts
	share, rest := s.Transactions/full, s.Transactions%full
	if n < rest {
		return share + 1
	}
	return share
}

func (s Shape) pending(n int) int {
	if s.empty(n) {
		return 0
	}
	return s.Pending
}

func (s Shape) empty(n int) bool { return n >= s.Accounts-s.EmptyAccounts }

// size returns the least size of the i-th object of the n-th account.
func (s Shape) size(n, i int) int {
	if n == 0 {
		for k, size := range s.HugeBytes {
			if i == (k+1)*s.booked(0)/(len(s.HugeBytes)+1) {
				return size
			}
		}
	}
	if s.BigEvery > 0 && (i+1)%s.BigEvery == 0 {
		return s.BigBytes
	}
	return s.ObjectBytes
}
