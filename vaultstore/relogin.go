package vaultstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/telemetry"
)

// relogin replaces the token dead. It does nothing when somebody else already
// has, and repeats the last refusal while a failed login is cooling down.
func (s *session) relogin(ctx context.Context, dead string) (err error) {
	waited := telemetry.Waiting(ctx, "log in to Vault")
	defer func() { waited(err) }()
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
	return nil, fmt.Errorf("vaultstore: %w: %w", errLogin, judged)
}

func (s *session) noteExpiry(ttlSeconds int) {
	if ttlSeconds == 0 {
		s.metrics.expiry(time.Time{})
		return
	}
	s.metrics.expiry(time.Now().Add(time.Duration(ttlSeconds) * time.Second))
}
