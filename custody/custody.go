// Package custody keeps the tokens of a connection.
//
// finX hands out a code that works once and a refresh token that is replaced at
// every use. Whoever loses the newest refresh token sends a human back to the
// bank, so every call that spends one waits for its turn at finX first, with
// nothing begun and nothing locked, and then follows the same protocol:
//
//  1. a mark in the connection's secret says what is about to be spent
//     (no mark, no call: a Vault that takes no writes can never burn a token);
//  2. one call to finX;
//  3. the answer is stored before anything else is looked at, and storing is
//     retried without end; a sealed copy in a spool on this host, and in escrow
//     where all replicas reach it when Vault does not take it, sees to it that
//     the answer outlives the process;
//  4. an answer that never came is resolved by reading the secret again, looking
//     into escrow, and spending the same value once more: had finX not seen it,
//     it works; had finX answered somebody else, the secret has moved; otherwise
//     it was lost already and the outcome is reported as unknown, never silently.
//
// Check-and-set in Vault is what makes this safe; the lock around it only saves
// calls. docs/custody.md draws the sequence and numbers every point at which a
// crash may hit it.
package custody

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// The outcomes that end a connection or a callback. Everything else is a
// verdict to try again.
var (
	// ErrCodeRejected: finX refused the code and nobody had spent it before.
	ErrCodeRejected = errors.New("custody: code rejected")
	// ErrExchangeUnknown: an earlier call spent the code and its answer was lost.
	ErrExchangeUnknown = errors.New("custody: outcome of the code exchange unknown")
	// ErrRefreshRejected: finX refused the newest refresh token: the user or the
	// bank took the access back.
	ErrRefreshRejected = errors.New("custody: refresh token rejected")
	// ErrRotationUnknown: an earlier call spent the refresh token and its answer
	// was lost.
	ErrRotationUnknown = errors.New("custody: outcome of the token rotation unknown")
	// ErrNoTokens: there is no secret for this connection.
	ErrNoTokens = errors.New("custody: no tokens stored")
)

// secrets is the part of vaultstore.Store that custody needs.
type secrets interface {
	Get(ctx context.Context, connectionID string) (vaultstore.Record, vaultstore.Version, error)
	Put(ctx context.Context, connectionID string, r vaultstore.Record, cas vaultstore.Version) (vaultstore.Version, error)
}

// TokenEndpoint is the part of finx.Client that spends codes and tokens. Each
// call reaches the wire once.
type TokenEndpoint interface {
	ExchangeCode(ctx context.Context, code secret.Text, redirectURI string) (finx.Tokens, error)
	Refresh(ctx context.Context, refreshToken secret.Text) (finx.Tokens, error)
	// AdmitToken waits until such a call may be made: an exchange, or a refresh. A
	// call and its repetition under the values of the context it returns are made
	// without waiting. release gives the turn back if there was none.
	AdmitToken(ctx context.Context, exchange bool) (admitted context.Context, release func(), err error)
}

// LockFunc takes the lock of that name across all replicas and returns a
// context that ends when the lock is lost. An error that carries a verdict
// means that somebody else holds it.
type LockFunc func(ctx context.Context, name string) (held context.Context, release func(), err error)

// Config is what a Keeper is made of. All fields but Metrics are required.
type Config struct {
	Secrets secrets
	Tokens  TokenEndpoint
	Lock    LockFunc
	// Holder names this process in journal marks.
	Holder string
	// CallLimit is the longest that one call to the token endpoint may take. A
	// mark younger than that, left by another process, is a call under way.
	CallLimit time.Duration
	// RefreshSkew is how long before its expiry an access token counts as
	// expired, so that it does not die on the way.
	RefreshSkew time.Duration
	// ClockSkew is how far the clocks of two replicas may be apart; 0 means 5 s.
	ClockSkew time.Duration
	// Replay says whether a call without an answer is repeated; empty means ReplayAlways.
	Replay ReplayPolicy
	// Escrow keeps answers that Vault does not take; nil means that they do not
	// outlive this process.
	Escrow  *Escrow
	Logger  *slog.Logger
	Metrics *Metrics
}

// ReplayPolicy says what is done about a call to the token endpoint that got no
// answer.
type ReplayPolicy string

// The policies. Spending the same value once more works when finX had not seen
// the call or grants a grace window, and loses nothing otherwise, because the
// answer that would matter is lost already. Never is for a host that punishes a
// repetition by more than that.
const (
	ReplayAlways ReplayPolicy = "always"
	ReplayNever  ReplayPolicy = "never"
)

// Keeper exchanges codes, refreshes tokens and hands out access tokens. It is
// safe for concurrent use.
type Keeper struct {
	cfg      Config
	flights  singleflight.Group
	holding  holding
	busy     busy
	early    early
	uncalled uncalled
	keys     keyring
}

// New returns a Keeper.
func New(cfg Config) (*Keeper, error) {
	if cfg.Secrets == nil || cfg.Tokens == nil || cfg.Lock == nil || cfg.Logger == nil {
		return nil, errors.New("custody: a store, a token endpoint, a lock and a logger are needed")
	}
	if cfg.Holder == "" || cfg.CallLimit <= 0 {
		return nil, errors.New("custody: a holder name and a limit for one call are needed")
	}
	if e := cfg.Escrow; e != nil && (e.Keys == nil || e.Bucket == nil) {
		return nil, errors.New("custody: an escrow needs keys and a bucket")
	}
	if cfg.Replay == "" {
		cfg.Replay = ReplayAlways
	}
	if cfg.Replay != ReplayAlways && cfg.Replay != ReplayNever {
		return nil, fmt.Errorf("custody: unknown replay policy %q", cfg.Replay)
	}
	cfg.ClockSkew = cmp.Or(cfg.ClockSkew, defaultClockSkew)
	k := &Keeper{cfg: cfg, keys: keyring{log: cfg.Logger}}
	if cfg.Escrow != nil {
		k.keys.keys = cfg.Escrow.Keys
	}
	return k, nil
}

// lockOf names the lock of a connection's tokens.
func lockOf(id string) string { return "tokens." + id }

// Grant is what is known of a connection's tokens, and the access token.
type Grant struct {
	AccessToken secret.Text
	Scope       string
	// ExpiresAt is when the access token dies.
	ExpiresAt time.Time
	// RefreshObtainedAt is when the refresh token was issued; its 90 days run
	// from there.
	RefreshObtainedAt time.Time
}

func grantOf(r vaultstore.Record) Grant {
	return Grant{
		AccessToken: r.AccessToken, Scope: r.Scope,
		ExpiresAt: r.AccessExpiresAt, RefreshObtainedAt: r.RefreshObtainedAt,
	}
}

// read returns the secret of a connection. One without a secret has the zero
// record; its version is above 0 where somebody deleted the secret by hand.
func (k *Keeper) read(ctx context.Context, id string) (vaultstore.Record, vaultstore.Version, error) {
	rec, version, err := k.cfg.Secrets.Get(ctx, id)
	if errors.Is(err, vaultstore.ErrNotFound) {
		return vaultstore.Record{}, version, nil
	}
	if err != nil {
		return vaultstore.Record{}, 0, fmt.Errorf("custody: reading the secret: %w", err)
	}
	return rec, version, nil
}
