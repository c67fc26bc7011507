package custody

import (
	"context"
	"fmt"
	"time"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/internal/telemetry"
	"github.com/finx-connector/finx-connector/vaultstore"
)

const kindRefresh = "refresh"

// Access returns an access token that lives for at least the configured skew,
// refreshing it when it is due. Concurrent callers of one connection share one
// refresh, in this process by single flight and across replicas by the lock.
//
// The error is ErrNoTokens, ErrRefreshRejected or ErrRotationUnknown when the
// connection has no access any more, and otherwise carries the verdict of the
// call that failed.
func (k *Keeper) Access(ctx context.Context, id string) (Grant, error) {
	rec, _, err := k.read(ctx, id)
	if err != nil {
		return Grant{}, err
	}
	if k.isFresh(rec) {
		return grantOf(rec), nil
	}
	return k.refresh(ctx, id, rec.AccessToken)
}

// Renew returns an access token other than dead, which finX refused although
// its time had not come.
func (k *Keeper) Renew(ctx context.Context, id string, dead secret.Text) (Grant, error) {
	rec, _, err := k.read(ctx, id)
	if err != nil {
		return Grant{}, err
	}
	if rec.AccessToken != dead && k.isFresh(rec) {
		return grantOf(rec), nil
	}
	grant, err := k.refresh(ctx, id, dead)
	if err == nil && grant.AccessToken == dead {
		// It joined a refresh that had begun before, and whose fruit died meanwhile.
		return Grant{}, k.atWork(kindRefresh)
	}
	return grant, err
}

// Rotate replaces a refresh token that was obtained before that time, and
// returns what is stored. It is for a connection that nobody fetches: its access
// token may be dead, when the refresh token is young enough. Errors are those of
// Access.
func (k *Keeper) Rotate(ctx context.Context, id string, obtainedSince time.Time) (Grant, error) {
	rec, _, err := k.read(ctx, id)
	if err != nil {
		return Grant{}, err
	}
	marked := markOf(rec, kindRefresh, rec.RefreshToken.SHA256()) != nil
	if !rec.RefreshToken.IsZero() && !marked && !rec.RefreshObtainedAt.Before(obtainedSince) {
		return grantOf(rec), nil
	}
	return k.refresh(ctx, id, rec.AccessToken)
}

func (k *Keeper) isFresh(rec vaultstore.Record) bool {
	return !rec.AccessToken.IsZero() && time.Until(rec.AccessExpiresAt) > k.cfg.RefreshSkew
}

// refresh spends the refresh token unless somebody else already replaced the
// dead access token.
func (k *Keeper) refresh(ctx context.Context, id string, dead secret.Text) (Grant, error) {
	return k.flight(ctx, kindRefresh, id, func(ctx context.Context) (Grant, error) {
		return k.refreshLocked(ctx, id, dead)
	})
}

// flight does a spending once for all who ask for it at the same time. A caller
// that gives up waiting does not end it for the others, nor for itself: it runs
// on the context of the first, without its cancellation.
func (k *Keeper) flight(ctx context.Context, kind, key string, do func(ctx context.Context) (Grant, error)) (grant Grant, err error) {
	ctx, span := telemetry.Start(ctx, telemetry.Internal, "custody."+kind)
	defer func() { span.End(err) }()
	result := k.flights.DoChan(kind+" "+key, func() (grant any, err error) {
		defer func() {
			// On a goroutine of its own a panic would end the process, and with
			// it whatever other connections have in hand.
			if p := recover(); p != nil {
				grant, err = Grant{}, fmt.Errorf("custody: %s: panic of type %T", kind, p)
			}
		}()
		return k.admitted(context.WithoutCancel(ctx), kind, do)
	})
	select {
	case r := <-result:
		// The steps of one that others share are in the trace of who came first.
		span.Flag(telemetry.KeyJoined, r.Shared)
		grant, _ = r.Val.(Grant)
		return grant, r.Err
	case <-ctx.Done():
		// No failed attempt: it goes on, and who asks again finds its fruit.
		return Grant{}, fault.Throttled("", time.Now().Add(time.Second), fmt.Errorf("custody: waiting for the %s: %w", kind, context.Cause(ctx)))
	}
}

// admitted does a spending when its turn at finX has come, which may take minutes
// where calls are limited. Nothing is held meanwhile: not the lock, which an
// exchange must not find taken by a refresh that queues behind it; no hold, which
// would keep a drain waiting; and no mark, whose call others would believe to be
// under way. What the record says is read afterwards, so whatever somebody else
// did in the meantime is found. finX being away, the refusal comes at once: no
// token that could be had without a call would be of use.
func (k *Keeper) admitted(ctx context.Context, kind string, do func(ctx context.Context) (Grant, error)) (Grant, error) {
	admitted, release, err := k.cfg.Tokens.AdmitToken(ctx, kind == kindExchange)
	if err != nil {
		return Grant{}, fmt.Errorf("custody: %s not begun: %w", kind, err)
	}
	defer release()
	return do(admitted)
}

func (k *Keeper) refreshLocked(ctx context.Context, id string, dead secret.Text) (Grant, error) {
	held, release, err := k.cfg.Lock(ctx, lockOf(id))
	if err != nil {
		return Grant{}, fmt.Errorf("custody: locking the tokens: %w", err)
	}
	defer release()
	rec, version, err := k.read(held, id)
	if err != nil {
		return Grant{}, err
	}
	if rec.AccessToken != dead && k.isFresh(rec) {
		return grantOf(rec), nil // another replica was faster
	}
	if rec.RefreshToken.IsZero() {
		return Grant{}, fmt.Errorf("%w: connection %s has no refresh token", ErrNoTokens, id)
	}
	token := rec.RefreshToken
	s := spend{
		id: id, kind: kindRefresh, sha256: token.SHA256(), rotation: rec.Rotation, base: rec.CodeSHA256,
		call: func(ctx context.Context) (finx.Tokens, error) {
			return k.cfg.Tokens.Refresh(ctx, token)
		},
	}
	rec, err = k.spend(held, s, rec, version)
	return grantOf(rec), err
}
