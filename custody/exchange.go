package custody

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
)

const kindExchange = "exchange"

// Exchanged reports whether this very code was exchanged and its tokens stored.
func (k *Keeper) Exchanged(ctx context.Context, id string, code secret.Text) (Grant, bool, error) {
	rec, _, err := k.read(ctx, id)
	if err != nil {
		return Grant{}, false, err
	}
	return grantOf(rec), rec.CodeSHA256 == code.SHA256(), nil
}

// Exchange spends an authorization code and stores the tokens it brings. Called
// again with a code that was exchanged before, it returns what is stored and
// calls nobody (RFC 6749 §10.5: a server should revoke everything it issued for
// a code that comes twice).
//
// The error is ErrCodeRejected or ErrExchangeUnknown when the code is of no use
// any more, and otherwise carries the verdict of the call that failed.
func (k *Keeper) Exchange(ctx context.Context, id string, code secret.Text, redirectURI string) (Grant, error) {
	held, release, err := k.cfg.Lock(ctx, "tokens."+id)
	if err != nil {
		return Grant{}, fmt.Errorf("custody: locking the tokens: %w", err)
	}
	defer release()
	rec, version, err := k.read(held, id)
	if err != nil {
		return Grant{}, err
	}
	if rec.CodeSHA256 == code.SHA256() {
		return grantOf(rec), nil
	}
	s := spend{
		id: id, kind: kindExchange, value: code,
		earlier: isOpen(rec, kindExchange, code),
		call: func(ctx context.Context) (finx.Tokens, error) {
			return k.cfg.Tokens.ExchangeCode(ctx, code, redirectURI)
		},
		apply: func(rec *vaultstore.Record, t finx.Tokens) {
			applyTokens(rec, t)
			rec.CodeSHA256 = code.SHA256()
		},
		moved:    func(now vaultstore.Record) bool { return now.CodeSHA256 == code.SHA256() },
		rejected: ErrCodeRejected, unknown: ErrExchangeUnknown,
	}
	rec, err = k.spend(held, s, rec, version)
	return grantOf(rec), err
}

// applyTokens puts an answer of the token endpoint into the record. An answer
// without a refresh token leaves the old one in force (finX documents rotation
// both as "always" and as "may").
func applyTokens(rec *vaultstore.Record, t finx.Tokens) {
	rec.AccessToken = t.AccessToken
	rec.AccessExpiresAt = t.ReceivedAt.Add(t.ExpiresIn).UTC()
	if !t.RefreshToken.IsZero() {
		rec.RefreshToken = t.RefreshToken
		rec.RefreshObtainedAt = t.ReceivedAt.UTC()
	}
	if t.TokenType != "" {
		rec.TokenType = t.TokenType
	}
	if t.Scope != "" {
		rec.Scope = t.Scope
	}
	rec.Rotation++
	rec.Pending = nil
}

// spend is one use of a code or of a refresh token.
type spend struct {
	id    string
	kind  string
	value secret.Text
	// earlier: a mark of a former attempt with the same value was found, so a
	// refusal now means that the former attempt's answer was lost.
	earlier bool
	call    func(ctx context.Context) (finx.Tokens, error)
	apply   func(rec *vaultstore.Record, t finx.Tokens)
	// moved reports whether somebody else stored the fruit of this value.
	moved    func(now vaultstore.Record) bool
	rejected error
	unknown  error
}

// spend runs the protocol of the package comment and returns the record as it
// stands afterwards.
func (k *Keeper) spend(ctx context.Context, s spend, rec vaultstore.Record, version vaultstore.Version) (vaultstore.Record, error) {
	rec, version, err := k.mark(ctx, s.id, rec, version, s.kind, s.value)
	if err != nil {
		return rec, err
	}
	tokens, err := s.call(ctx)
	if fault.IsAmbiguous(err) {
		k.cfg.Metrics.ambiguous(s.kind)
		k.cfg.Logger.WarnContext(ctx, "token call without an answer, trying the same value once more",
			"connection_id", s.id, "kind", s.kind, "error", err)
		s.earlier = true
		now, at, readErr := k.read(ctx, s.id)
		if readErr != nil {
			return rec, errors.Join(readErr, err)
		}
		if s.moved(now) {
			return now, nil
		}
		rec, version = now, at
		tokens, err = s.call(ctx)
	}
	if err == nil {
		return k.store(ctx, s, rec, version, tokens)
	}
	return k.refused(ctx, s, rec, version, err)
}

// refused decides what a failed call means and takes the mark away where the
// call is known to have spent nothing.
func (k *Keeper) refused(ctx context.Context, s spend, rec vaultstore.Record, version vaultstore.Version, err error) (vaultstore.Record, error) {
	switch {
	case errors.Is(err, finx.ErrInvalidGrant):
		now, at, readErr := k.read(ctx, s.id)
		if readErr != nil {
			return rec, errors.Join(readErr, err)
		}
		if s.moved(now) {
			return now, nil
		}
		k.unmark(ctx, s.id, now, at)
		outcome := s.rejected
		if s.earlier {
			outcome = s.unknown
		}
		k.cfg.Metrics.settled(s.kind, outcome)
		return now, fmt.Errorf("%w: %w", outcome, err)
	case fault.IsAmbiguous(err):
		// The mark stays: whoever comes next must know that this value may be spent.
		return rec, fmt.Errorf("custody: %s without an answer: %w", s.kind, err)
	default:
		if !s.earlier {
			k.unmark(ctx, s.id, rec, version)
		}
		return rec, fmt.Errorf("custody: %s: %w", s.kind, err)
	}
}

// Age says how old the mark of an open journal entry is, for operators.
func Age(p *vaultstore.Pending, now time.Time) time.Duration {
	if p == nil {
		return 0
	}
	return now.Sub(p.StartedAt)
}
