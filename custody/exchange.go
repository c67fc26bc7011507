package custody

import (
	"context"
	"fmt"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
)

const kindExchange = "exchange"

// Exchanged reports whether this very code was exchanged and its tokens stored.
// Tokens that a former process left in escrow are stored by the way.
func (k *Keeper) Exchanged(ctx context.Context, id string, code secret.Text) (Grant, bool, error) {
	rec, _, err := k.read(ctx, id)
	if err != nil {
		return Grant{}, false, err
	}
	s := spend{id: id, kind: kindExchange, sha256: code.SHA256(), rotation: rec.Rotation}
	if rec, _, err = k.leftBehind(ctx, s, rec); err != nil {
		return Grant{}, false, err
	}
	return grantOf(rec), s.moved(rec), nil
}

// Exchange spends an authorization code and stores the tokens it brings. Called
// again with a code that was exchanged before, it returns what is stored and
// calls nobody (RFC 6749 §10.5: a server should revoke everything it issued for
// a code that comes twice).
//
// The error is ErrCodeRejected or ErrExchangeUnknown when the code is of no use
// any more, and otherwise carries the verdict of the call that failed. When ctx
// ends it returns, and the exchange goes on: Wait is for a drain.
func (k *Keeper) Exchange(ctx context.Context, id string, code secret.Text, redirectURI string) (Grant, error) {
	if err := ctx.Err(); err != nil {
		return Grant{}, fmt.Errorf("custody: token exchange not begun: %w", context.Cause(ctx))
	}
	// Once begun it goes on to its end, whatever becomes of the caller: the lock
	// must be held for as long as tokens are in hand, however long Vault takes. The
	// caller need not wait for that: what is in escrow must not hold up a drain.
	return k.flight(ctx, kindExchange, id+" "+code.SHA256(), func(ctx context.Context) (Grant, error) {
		return k.exchangeLocked(ctx, id, code, redirectURI)
	})
}

func (k *Keeper) exchangeLocked(ctx context.Context, id string, code secret.Text, redirectURI string) (Grant, error) {
	held, release, err := k.cfg.Lock(ctx, lockOf(id))
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
		id: id, kind: kindExchange, sha256: code.SHA256(), rotation: rec.Rotation, base: rec.CodeSHA256,
		call: func(ctx context.Context) (finx.Tokens, error) {
			return k.cfg.Tokens.ExchangeCode(ctx, code, redirectURI)
		},
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
