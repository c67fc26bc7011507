package custody_test

import (
	"fmt"
	"time"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// The ways in which providers treat a refresh token that was used.
const (
	strict      = "strict"       // a used token is refused, nothing else happens
	revoking    = "revoking"     // a used token takes its whole family down
	graceSame   = "grace"        // until its child is used, a used token answers with the same pair again
	graceFresh  = "grace, fresh" // … with a new pair, and the one before is dead
	keepsTokens = "keeps"        // refresh tokens are not replaced at all
)

const (
	accessLife = 40 * time.Second
	codeLife   = 30 * time.Minute
)

// provider is a token endpoint as pure state: what a call does and what it
// answers, without any way for a call to get lost.
type provider struct {
	mode     string
	codes    map[string]*code
	tokens   map[string]*token
	families int
	serial   int
}

// code is an authorization code.
type code struct {
	value   string
	expires time.Time
	family  *family // set by the exchange
	settled bool    // a caller was told how it ended
}

// family is all that came of one code.
type family struct {
	number  int
	newest  *token
	issued  int
	revoked bool // by reuse of a code or token
	user    bool // by the user
}

// token is a refresh token; serial counts those of a family in the order in
// which they were issued.
type token struct {
	value  string
	serial int
	family *family
	child  *token // what it was last replaced by; nil while unused
	dead   bool   // replaced by a sibling
}

func newProvider(mode string) *provider {
	return &provider{mode: mode, codes: map[string]*code{}, tokens: map[string]*token{}}
}

func (p *provider) graceful() bool { return p.mode == graceSame || p.mode == graceFresh }

// newCode is a user who approved.
func (p *provider) newCode(now time.Time) *code {
	c := &code{value: fmt.Sprintf("code-%d", len(p.codes)+1), expires: now.Add(codeLife)}
	p.codes[c.value] = c
	return c
}

func (p *provider) exchange(value string, now time.Time) (finx.Tokens, error) {
	c := p.codes[value]
	switch {
	case c.family != nil:
		c.family.revoked = true
		return finx.Tokens{}, refusal()
	case now.After(c.expires):
		return finx.Tokens{}, refusal()
	}
	p.families++
	c.family = &family{number: p.families}
	return p.answer(p.issue(c.family)), nil
}

func (p *provider) refresh(value string) (finx.Tokens, error) {
	t := p.tokens[value]
	switch {
	case t.family.revoked || t.family.user || t.dead:
		return finx.Tokens{}, refusal()
	case p.mode == keepsTokens:
		answer := p.answer(t)
		answer.RefreshToken = secret.Text{}
		return answer, nil
	case t.child == nil:
		t.child = p.issue(t.family)
		return p.answer(t.child), nil
	case p.mode == graceSame && t.child.child == nil:
		return p.answer(t.child), nil
	case p.mode == graceFresh && t.child.child == nil:
		t.child.dead = true
		t.child = p.issue(t.family)
		return p.answer(t.child), nil
	}
	t.family.revoked = t.family.revoked || p.mode == revoking
	return finx.Tokens{}, refusal()
}

func (p *provider) issue(f *family) *token {
	f.issued++
	t := &token{value: fmt.Sprintf("R%d.%d", f.number, f.issued), serial: f.issued, family: f}
	f.newest, p.tokens[t.value] = t, t
	return t
}

func (p *provider) answer(t *token) finx.Tokens {
	p.serial++
	return finx.Tokens{
		AccessToken: secret.New(fmt.Sprintf("A%d.%d", t.family.number, p.serial)), RefreshToken: secret.New(t.value),
		TokenType: "Bearer", Scope: "offline", ExpiresIn: accessLife,
	}
}

// newer reports whether token a was issued after b, where a later code counts
// for more than a later rotation. What is unknown is older than anything.
func (p *provider) newer(a, b string) bool {
	x, y := p.tokens[a], p.tokens[b]
	if x == nil || y == nil {
		return x != nil
	}
	if x.family != y.family {
		return x.family.number > y.family.number
	}
	return x.serial > y.serial
}

func refusal() error { return fmt.Errorf("model: %w", finx.ErrInvalidGrant) }
