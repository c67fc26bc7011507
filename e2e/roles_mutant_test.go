package e2e_test

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/finx-connector/finx-connector/internal/natstest"
)

// roleRule is one line of a role in the shipped configuration, and a user who has all
// lines of that role but this one.
type roleRule struct {
	role, subject string
	subscribe     bool
	without       natstest.Identity
}

// String says where to look.
func (u roleRule) String() string {
	verb := "publish"
	if u.subscribe {
		verb = "subscribe"
	}
	return u.role + " may " + verb + " " + u.subject
}

// takes reports whether the rule allows what was done.
func (u roleRule) takes(done use) bool {
	return u.subscribe == done.subscribed && server.SubjectMatchesFilter(done.subject, u.subject)
}

// mutate adds to the broker's users, for each rule of the roles, one without it.
func mutate(t testing.TB, o *server.Options, s *natstest.Shipped, roles ...string) (rules []roleRule) {
	t.Helper()
	for _, role := range roles {
		i := slices.IndexFunc(o.Nkeys, func(u *server.NkeyUser) bool { return u.Nkey == s.Roles[role].Public })
		if i < 0 || o.Nkeys[i].Permissions == nil {
			t.Fatalf("%s has no rights of its own", role)
		}
		whole := o.Nkeys[i]
		add := func(subject string, subscribe bool, publishes, subscribes *server.SubjectPermission) {
			r := roleRule{role: role, subject: subject, subscribe: subscribe, without: natstest.NewIdentity(t)}
			rules = append(rules, r)
			o.Nkeys = append(o.Nkeys, &server.NkeyUser{
				Nkey: r.without.Public, Account: whole.Account,
				Permissions: &server.Permissions{Publish: publishes, Subscribe: subscribes},
			})
		}
		p := whole.Permissions
		for i, subject := range p.Publish.Allow {
			add(subject, false, without(p.Publish, i), p.Subscribe)
		}
		for i, subject := range p.Subscribe.Allow {
			add(subject, true, p.Publish, without(p.Subscribe, i))
		}
	}
	return rules
}

// without leaves the i-th rule out. No rule at all would allow everything.
func without(p *server.SubjectPermission, i int) *server.SubjectPermission {
	rest := slices.Delete(slices.Clone(p.Allow), i, i+1)
	if len(rest) == 0 {
		return &server.SubjectPermission{Deny: []string{">"}}
	}
	return &server.SubjectPermission{Allow: rest, Deny: p.Deny}
}

// needed returns, of each roleRule, the first act that did what no other rule of its
// role allows. Rules that are in no such act are not in the map.
func (w *wiretap) needed(s *natstest.Shipped, rules []roleRule) map[int]string {
	acts := map[int]string{}
	for i, r := range rules {
		for _, done := range w.uses(s.Roles[r.role].Public) {
			other := func(o roleRule) bool { return o != r && o.role == r.role && o.takes(done) }
			if r.takes(done) && !slices.ContainsFunc(rules, other) {
				acts[i] = done.act
				break
			}
		}
	}
	return acts
}

// quiet is a test that may fail without anybody being told: what runs without a
// right it needs does.
type quiet struct {
	testing.TB

	ctx context.Context
}

func (q quiet) Context() context.Context { return q.ctx }
func (q quiet) Error(...any)             {}
func (q quiet) Errorf(string, ...any)    {}
func (q quiet) Fatal(...any)             { runtime.Goexit() }
func (q quiet) Fatalf(string, ...any)    { runtime.Goexit() }

// quietly does something that is expected to fail, and stops it when stop is called.
func quietly(t testing.TB, do func(t testing.TB)) (over <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		do(quiet{t, ctx})
	}()
	return ended, func() { cancel(); <-ended }
}

// checkRefusal waits until a user without a rule is refused what the rule allows.
func (w *wiretap) checkRefusal(t testing.TB, r roleRule, act string, over <-chan struct{}) {
	t.Helper()
	if !w.refusal(r, over) {
		t.Errorf("without the rule that %s: it was not refused while %s", r, act)
	}
}

// plain is a subject without the installation's prefix.
func plain(subject, prefix string) string {
	if prefix == "" {
		return subject
	}
	return strings.TrimPrefix(subject, prefix+".")
}
