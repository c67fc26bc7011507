package vaultstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/finx-connector/finx-connector/internal/guard"
)

const (
	// After a failed login the next one waits: at first this long, doubling.
	// Every caller would otherwise log in for itself while Vault is in trouble.
	firstLoginPause = 250 * time.Millisecond
	lastLoginPause  = 15 * time.Second
	// A token that may not look at itself (no default policy) looks dead at every
	// refusal. When a new one was refused too, no further login for this long.
	futilePause = 30 * time.Second
)

// session holds the one token of a Store. It logs in when there is none, and
// again when a call shows that it is dead; keep renews it in the background.
// The token is a property of the data client, which is safe to replace while
// calls are under way.
type session struct {
	data    *api.Client // no time-out of its own: once bounds each call
	logins  *api.Client // carries no token
	method  loginMethod
	timeout time.Duration
	log     *slog.Logger
	metrics *Metrics
	observe func(guard.Answer)
	pools   []*http.Client // the connections of both clients

	// turn is held by whoever logs in. A channel, because the others must be able
	// to leave the queue when their context ends.
	turn chan struct{}
	// The rest belongs to the holder of turn.
	current *api.Secret // of the last login
	pause   time.Duration
	closed  time.Time // no login before this
	refusal error     // why not

	futileUntil atomic.Int64 // Unix nanoseconds; written by do

	// replaced tells keep, which holds a capacity of one, that a call logged in.
	replaced chan struct{}
}

func newSession(c Config, method loginMethod) (*session, error) {
	dataConf, err := c.client()
	if err != nil {
		return nil, err
	}
	// Logins have connections of their own, so that they never queue behind data.
	loginConf, err := c.client()
	if err != nil {
		return nil, err
	}
	s := &session{
		method: method, timeout: loginConf.Timeout, log: c.Logger, metrics: c.Metrics, observe: c.Observe,
		pools: []*http.Client{dataConf.HttpClient, loginConf.HttpClient},
		turn:  make(chan struct{}, 1), replaced: make(chan struct{}, 1),
	}
	dataConf.Timeout = 0
	if s.data, err = newClient(dataConf, c.Namespace); err != nil {
		return nil, err
	}
	if s.logins, err = newClient(loginConf, c.Namespace); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *session) closeIdle() {
	for _, pool := range s.pools {
		pool.CloseIdleConnections()
	}
}

// request is one call of the API, which may be made more than once.
type request func(ctx context.Context, client *api.Client) error

// do makes a call under a living token. A 403 has two meanings which only a
// look at the token tells apart (the texts differ between versions): a dead
// token is replaced and the call made once more; a policy that forbids the call
// is the operator's to mend, and the event waits for that.
func (s *session) do(ctx context.Context, write bool, call request) error {
	return s.doWithin(ctx, s.timeout, write, call)
}

// doWithin is do for a call that may take longer than others.
func (s *session) doWithin(ctx context.Context, limit time.Duration, write bool, call request) error {
	token, err := s.token(ctx)
	if err != nil {
		return err
	}
	err = s.onceWithin(ctx, limit, write, call)
	if !isForbidden(err) {
		return err
	}
	if time.Now().UnixNano() < s.futileUntil.Load() {
		return denied(err)
	}
	alive, lookErr := s.isAlive(ctx, token)
	if lookErr != nil {
		return fmt.Errorf("looking at the token after a refusal: %w", lookErr)
	}
	if alive {
		return denied(err)
	}
	if err := s.relogin(ctx, token); err != nil {
		return err
	}
	if err = s.onceWithin(ctx, limit, write, call); !isForbidden(err) {
		return err
	}
	s.futileUntil.Store(time.Now().Add(futilePause).UnixNano())
	return denied(err)
}

// errDenied marks a refusal for which the policies are to blame, as far as can
// be known.
var errDenied = errors.New("the token's policies forbid the call")

func denied(err error) error { return fmt.Errorf("%w: %w", errDenied, err) }

// once reads within the time-out and gives the error its verdict.
func (s *session) once(ctx context.Context, call request) error {
	return s.onceWithin(ctx, s.timeout, false, call)
}

func (s *session) onceWithin(ctx context.Context, limit time.Duration, write bool, call request) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ctx, seen := withWire(ctx)
	return judge(ctx, write, seen, call(ctx, s.data))
}

// token returns the token in use, after logging in if there is none.
func (s *session) token(ctx context.Context) (string, error) {
	if token := s.data.Token(); token != "" {
		return token, nil
	}
	if err := s.relogin(ctx, ""); err != nil {
		return "", err
	}
	return s.data.Token(), nil
}

func (s *session) isAlive(ctx context.Context, token string) (bool, error) {
	err := s.once(ctx, func(ctx context.Context, client *api.Client) error {
		own, err := client.CloneWithHeaders()
		if err != nil {
			return err
		}
		own.SetToken(token)
		_, err = own.Auth().Token().LookupSelfWithContext(ctx)
		return err
	})
	if isForbidden(err) {
		return false, nil
	}
	return err == nil, err
}
