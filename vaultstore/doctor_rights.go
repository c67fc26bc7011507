package vaultstore

import (
	"context"
	"slices"
	"strings"
)

// Rights is how what the token may do compares with what it needs, which is what
// deploy/vault/finx-connector.hcl allows.
type Rights struct {
	Root    bool
	Missing []Grant // a record could not be kept, or not be listed or erased
	Lacking []Grant // what works without, but worse
	Excess  []Excess
}

// Grant is what is, or is not, allowed on one path.
type Grant struct {
	Path         string
	Capabilities []string
}

// Reach says what an excess opens.
type Reach string

// The three reaches, from the worst to the least.
const (
	OverVault   Reach = "Vault itself" // whoever has it can give itself the rest
	OverKeys    Reach = "the sealing key"
	OverSecrets Reach = "other secrets"
)

// Excess is more than the least policy allows.
type Excess struct {
	Grant
	Over Reach
}

// expectation is what a path needs, what the least policy allows beside, and what it
// would mean to have more.
type expectation struct {
	path       string
	needs, may []string
	useful     bool // needs is not needed, only better
	over       Reach
}

// nobody is a name that nobody has: what is allowed there is allowed everywhere.
const nobody = "finx-connector-doctor"

// expectations covers what the token needs and a sample of what it must not reach.
func (s *Store) expectations(lim limits) []expectation {
	p, t := s.paths, s.transit
	var all []expectation
	for _, r := range p.rights(lim) {
		all = append(all, expectation{path: r.path, needs: r.capabilities, over: OverSecrets})
	}
	// More on these than is needed for now is still what the least policy gives.
	widen := map[string][]string{
		p.metadata(sampleID): {"create", "read", "update", "delete", "list"},
		p.destroy(sampleID):  {"create", "update"},
	}
	for i := range all {
		all[i].may = widen[all[i].path]
	}
	if !lim.destroys() {
		all = append(all, expectation{path: p.destroy(sampleID), may: widen[p.destroy(sampleID)], over: OverSecrets})
	}
	all = append(all,
		expectation{path: p.list(), needs: []string{"list"}, may: widen[p.metadata(sampleID)], over: OverSecrets},
		expectation{path: p.config(), needs: []string{"read"}, useful: true, over: OverSecrets},
	)
	for over, paths := range map[Reach][]string{
		OverSecrets: {
			// A rule that ends in finx* instead of finx/* opens the first.
			p.mount + "/data/" + p.prefix + "-" + nobody + "/x", p.mount + "/metadata/" + p.prefix + "-" + nobody + "/x",
			p.mount + "/data/" + nobody + "/x", p.mount + "/metadata/" + nobody + "/x", p.mount + "/destroy/" + nobody + "/x",
			p.of("undelete", sampleID),
		},
		OverVault: {
			"sys/policies/acl/" + nobody, "sys/mounts/" + nobody, "sys/auth/" + nobody, "sys/audit/" + nobody,
			"auth/token/create", "auth/token/create-orphan", "identity/entity",
		},
	} {
		for _, path := range paths {
			all = append(all, expectation{path: path, over: over})
		}
	}
	if t.key != "" {
		all = append(all,
			expectation{path: t.dataKey(), needs: []string{"update"}, useful: true, over: OverKeys},
			expectation{path: t.decrypt(), needs: []string{"update"}, useful: true, over: OverKeys},
			expectation{path: t.mount + "/keys/" + t.key, over: OverKeys},
			expectation{path: t.mount + "/keys/" + t.key + "/config", over: OverKeys},
			expectation{path: t.mount + "/export/encryption-key/" + t.key, over: OverKeys},
			expectation{path: t.mount + "/backup/" + t.key, over: OverKeys},
		)
	}
	slices.SortStableFunc(all, func(a, b expectation) int { return strings.Compare(a.path, b.path) })
	return all
}

func (s *Store) askRights(ctx context.Context) *Rights {
	lim := s.limits.Load()
	if lim == nil {
		return nil
	}
	expected := s.expectations(*lim)
	asked := make([]right, len(expected))
	for i, e := range expected {
		asked[i] = right{path: e.path}
	}
	granted, err := s.capabilities(ctx, asked)
	if err != nil {
		return nil
	}
	return compare(expected, granted)
}

func compare(expected []expectation, granted map[string][]string) *Rights {
	r := &Rights{}
	for _, e := range expected {
		have := granted[e.path]
		if slices.Contains(have, "root") {
			return &Rights{Root: true}
		}
		if lacks := lacking(have, e.needs); len(lacks) > 0 {
			lack := Grant{e.path, lacks}
			if e.useful {
				r.Lacking = append(r.Lacking, lack)
			} else {
				r.Missing = append(r.Missing, lack)
			}
		}
		var more []string
		for _, c := range have {
			if c != "deny" && !slices.Contains(e.needs, c) && !slices.Contains(e.may, c) {
				more = append(more, c)
			}
		}
		if len(more) > 0 {
			r.Excess = append(r.Excess, Excess{Grant{e.path, more}, e.over})
		}
	}
	return r
}
