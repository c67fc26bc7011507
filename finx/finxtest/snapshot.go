package finxtest

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Snapshot is what a sandbox knows of users and tokens, so that another one can go on
// from there: for tests that handle what an earlier release has stored. Of tokens and
// codes it holds digests only. Links, faults, counters and grace answers are left out.
type Snapshot struct {
	TakenAt  time.Time      `json:"taken_at"`
	Users    []savedUser    `json:"users"`
	Families []savedFamily  `json:"families"`
	Codes    []savedCode    `json:"codes"`
	Access   []savedAccess  `json:"access"`
	Refresh  []savedRefresh `json:"refresh"`
}

type savedUser struct {
	ID       string       `json:"id"`
	Accesses []savedGrant `json:"accesses"`
}

type savedGrant struct {
	Bank       string    `json:"bank"`
	ApprovedAt time.Time `json:"approved_at"`
	AutoSync   bool      `json:"auto_sync,omitempty"`
}

type savedFamily struct {
	UserID  string `json:"user_id"`
	Scope   string `json:"scope"`
	Revoked bool   `json:"revoked,omitempty"`
}

type savedCode struct {
	SHA256      string    `json:"sha256"`
	UserID      string    `json:"user_id"`
	RedirectURI string    `json:"redirect_uri"`
	Expires     time.Time `json:"expires"`
	Family      *int      `json:"family,omitempty"` // index; absent while not exchanged
}

type savedAccess struct {
	SHA256  string    `json:"sha256"`
	Family  int       `json:"family"`
	Expires time.Time `json:"expires"`
	Revoked bool      `json:"revoked,omitempty"`
}

type savedRefresh struct {
	SHA256    string    `json:"sha256"`
	Family    int       `json:"family"`
	Expires   time.Time `json:"expires"`
	RotatedAt time.Time `json:"rotated_at,omitzero"`
}

// Snapshot returns what the sandbox knows.
func (s *Sandbox) Snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Snapshot{TakenAt: s.now()}
	for _, id := range slices.Sorted(maps.Keys(s.users)) {
		u := savedUser{ID: id}
		for _, a := range s.users[id].accesses {
			u.Accesses = append(u.Accesses, savedGrant{a.bank.ID, a.approvedAt, a.autoSync})
		}
		out.Users = append(out.Users, u)
	}
	families := map[*family]int{}
	indexOf := func(f *family) int {
		i, known := families[f]
		if !known {
			i = len(out.Families)
			families[f] = i
			out.Families = append(out.Families, savedFamily{f.userID, f.scope, f.revoked})
		}
		return i
	}
	for d, c := range s.tokens.codes {
		saved := savedCode{SHA256: hex.EncodeToString(d[:]), UserID: c.userID, RedirectURI: c.redirectURI, Expires: c.expires}
		if c.family != nil {
			i := indexOf(c.family)
			saved.Family = &i
		}
		out.Codes = append(out.Codes, saved)
	}
	for d, a := range s.tokens.access {
		out.Access = append(out.Access, savedAccess{hex.EncodeToString(d[:]), indexOf(a.family), a.expires, a.revoked})
	}
	for d, r := range s.tokens.refresh {
		out.Refresh = append(out.Refresh, savedRefresh{hex.EncodeToString(d[:]), indexOf(r.family), r.expires, r.rotatedAt})
	}
	return out
}

// Restore takes over what another sandbox knew, in place of what this one knows. All
// times move by the time that has passed since: nothing is older than it was then.
// Histories are those of this sandbox's Options.
func (s *Sandbox) Restore(from Snapshot) error {
	s.Reset()
	s.mu.Lock()
	defer s.mu.Unlock()
	passed := s.now().Sub(from.TakenAt)
	families := make([]*family, len(from.Families))
	for i, f := range from.Families {
		families[i] = &family{userID: f.UserID, scope: f.Scope, revoked: f.Revoked}
	}
	familyAt := func(i int) (*family, error) {
		if i < 0 || i >= len(families) {
			return nil, fmt.Errorf("finxtest: restoring: there is no family %d", i)
		}
		return families[i], nil
	}
	for _, saved := range from.Users {
		u := s.userOf(saved.ID)
		for _, g := range saved.Accesses {
			b := findBank(g.Bank)
			if b == nil {
				return fmt.Errorf("finxtest: restoring: no bank %q", g.Bank)
			}
			u.accesses = append(u.accesses, &access{
				id: idNumber("X", s.opts.Seed, u.id, b.ID), bank: b, accounts: s.newAccounts(u, b), approvedAt: g.ApprovedAt.Add(passed), autoSync: g.AutoSync,
			})
		}
	}
	for _, c := range from.Codes {
		d, err := digestFrom(c.SHA256)
		entry := &codeEntry{userID: c.UserID, redirectURI: c.RedirectURI, expires: c.Expires.Add(passed)}
		if err == nil && c.Family != nil {
			entry.family, err = familyAt(*c.Family)
		}
		if err != nil {
			return err
		}
		s.tokens.codes[d] = entry
	}
	for _, a := range from.Access {
		d, err := digestFrom(a.SHA256)
		f, noFamily := familyAt(a.Family)
		if err := errors.Join(err, noFamily); err != nil {
			return err
		}
		s.tokens.access[d] = &accessEntry{family: f, expires: a.Expires.Add(passed), revoked: a.Revoked}
	}
	for _, r := range from.Refresh {
		d, err := digestFrom(r.SHA256)
		f, noFamily := familyAt(r.Family)
		if err := errors.Join(err, noFamily); err != nil {
			return err
		}
		entry := &refreshEntry{family: f, expires: r.Expires.Add(passed)}
		if !r.RotatedAt.IsZero() {
			entry.rotatedAt = r.RotatedAt.Add(passed)
		}
		s.tokens.refresh[d] = entry
	}
	return nil
}

func digestFrom(text string) (digest, error) {
	var d digest
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(d) {
		return d, errors.New("finxtest: restoring: not a digest")
	}
	copy(d[:], raw)
	return d, nil
}
