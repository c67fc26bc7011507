package vaultstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/finx-connector/finx-connector/internal/fault"
)

const (
	// After a failed login the next one waits: at first this long, doubling.
	// Every caller would otherwise log in for itself while Vault is in trouble.
	firstLoginPause = 250 * time.Millisecond
	lastLoginPause  = 15 * time.Second
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
	pools   []*http.Client // the connections of both clients

	// turn is held by whoever logs in. A channel, because the others must be able
	// to leave the queue when their context ends.
	turn chan struct{}
	// The rest belongs to the holder of turn.
	current *api.Secret // of the last login
	pause   time.Duration
	closed  time.Time // no login before this
	refusal error     // why not

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
		method: method, timeout: loginConf.Timeout, log: c.Logger, metrics: c.Metrics,
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

func newClient(conf *api.Config, namespace string) (*api.Client, error) {
	client, err := api.NewClient(conf)
	if err != nil {
		return nil, fmt.Errorf("vaultstore: making the client: %w", err)
	}
	client.ClearToken() // the client took VAULT_TOKEN, which is for the token method alone
	if namespace != "" {
		client.SetNamespace(namespace)
	}
	return client, nil
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
	token, err := s.token(ctx)
	if err != nil {
		return err
	}
	err = s.once(ctx, write, call)
	if !isForbidden(err) {
		return err
	}
	alive, lookErr := s.isAlive(ctx, token)
	if lookErr != nil {
		return fmt.Errorf("looking at the token after a refusal: %w", lookErr)
	}
	if !alive {
		if err := s.relogin(ctx, token); err != nil {
			return err
		}
		if err = s.once(ctx, write, call); !isForbidden(err) {
			return err
		}
	}
	return fmt.Errorf("the token's policies forbid the call: %w", err)
}

// once makes the call within the time-out and gives its error a verdict.
func (s *session) once(ctx context.Context, write bool, call request) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
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
	err := s.once(ctx, false, func(ctx context.Context, client *api.Client) error {
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

// relogin replaces the token dead. It does nothing when somebody else already
// has, and repeats the last refusal while a failed login is cooling down.
func (s *session) relogin(ctx context.Context, dead string) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return fault.Transient(fault.Vault, fmt.Errorf("waiting for a login: %w", context.Cause(ctx)))
	}
	if s.data.Token() != dead {
		return nil
	}
	if time.Now().Before(s.closed) {
		return s.refusal
	}
	got, err := s.login(ctx, dead)
	s.metrics.login(err)
	if err != nil {
		s.pause = min(max(2*s.pause, firstLoginPause), lastLoginPause)
		s.closed, s.refusal = time.Now().Add(s.pause), err
		s.log.WarnContext(ctx, "logging in to vault failed", "error", err, "next_login_in", s.pause)
		return err
	}
	s.pause, s.closed, s.refusal = 0, time.Time{}, nil
	s.current = got
	s.data.SetToken(got.Auth.ClientToken)
	s.noteExpiry(got.Auth.LeaseDuration)
	s.log.InfoContext(ctx, "logged in to vault", "ttl_seconds", got.Auth.LeaseDuration, "renewable", got.Auth.Renewable)
	select {
	case s.replaced <- struct{}{}:
	default:
	}
	return nil
}

// login runs the method. Whatever fails there is no fault of the event that is
// being worked on, so it is transient even where Vault calls it a bad request.
func (s *session) login(ctx context.Context, dead string) (*api.Secret, error) {
	// A caller that leaves must not spoil the login for those who wait for it, nor
	// burn a wrapped secret id, which opens only once.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*s.timeout)
	defer cancel()
	ctx, seen := withWire(ctx)
	got, err := s.method.login(ctx, s.logins, dead)
	if err == nil && (got == nil || got.Auth == nil || got.Auth.ClientToken == "") {
		err = errors.New("no token in the answer")
	}
	if err == nil {
		return got, nil
	}
	judged := judge(ctx, false, seen, err)
	if fault.Of(judged) == fault.GiveUp {
		judged = fault.Transient(fault.Vault, judged)
	}
	return nil, fmt.Errorf("vaultstore: logging in: %w", judged)
}

func (s *session) noteExpiry(ttlSeconds int) {
	if ttlSeconds == 0 {
		s.metrics.expiry(time.Time{})
		return
	}
	s.metrics.expiry(time.Now().Add(time.Duration(ttlSeconds) * time.Second))
}
