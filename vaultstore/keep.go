package vaultstore

import (
	"context"
	"time"

	"github.com/hashicorp/vault/api"
)

// Run keeps the token alive until ctx ends: it renews it, and logs in again
// when renewal ends, which it does at the token's maximum lifetime, without an
// error and while the token still works. It never fails: a refused login is
// logged, counted and tried again. Without Run a Store still works, but pays
// for a dead token with one slow call.
func (s *Store) Run(ctx context.Context) error {
	s.session.keep(ctx)
	return nil
}

func (s *session) keep(ctx context.Context) {
	for ctx.Err() == nil {
		token, err := s.token(ctx)
		if err != nil {
			s.observe(standing(ctx, err))
			s.rest(ctx)
			continue
		}
		if !s.watch(ctx, token) {
			continue
		}
		for s.data.Token() == token && ctx.Err() == nil {
			if err := s.relogin(ctx, token); err != nil {
				s.observe(standing(ctx, err))
				s.rest(ctx)
			}
		}
	}
}

// rest waits until a login may be tried again; relogin has logged why.
func (s *session) rest(ctx context.Context) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return
	}
	wait := max(time.Until(s.closed), firstLoginPause)
	<-s.turn
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// watch renews the token and returns true when it must be replaced, false when
// a call has replaced it already or ctx ended.
func (s *session) watch(ctx context.Context, token string) bool {
	got, err := s.secretOf(ctx, token)
	if err != nil || got == nil {
		return false
	}
	if got.Auth.LeaseDuration == 0 { // a token without end
		select {
		case <-ctx.Done():
		case <-s.replaced:
		}
		return false
	}
	watcher, err := s.logins.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: got})
	if err != nil {
		s.log.WarnContext(ctx, "watching the vault token failed", "error", err)
		return true
	}
	go watcher.Start()
	for {
		select {
		case <-ctx.Done():
			stopWatcher(watcher)
			return false
		case <-s.replaced:
			if s.data.Token() == token {
				continue // the news of the login this watch began with
			}
			stopWatcher(watcher)
			return false
		case renewal := <-watcher.RenewCh():
			s.metrics.renewed()
			s.noteExpiry(renewal.Secret.Auth.LeaseDuration)
			s.log.DebugContext(ctx, "renewed the vault token", "ttl_seconds", renewal.Secret.Auth.LeaseDuration)
		case err := <-watcher.DoneCh():
			// nil is the usual end, at the maximum lifetime.
			s.log.InfoContext(ctx, "renewal of the vault token ended", "error", err)
			return true
		}
	}
}

// secretOf returns the login that brought token, nil if it was replaced.
func (s *session) secretOf(ctx context.Context, token string) (*api.Secret, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if s.current == nil || s.current.Auth.ClientToken != token {
		return nil, nil
	}
	return s.current, nil
}

// stopWatcher ends the watcher and waits for it, at most one time-out of a
// renewal under way, so that no goroutine stays behind.
func stopWatcher(w *api.LifetimeWatcher) {
	w.Stop()
	<-w.DoneCh() //nolint:errcheck // how a watch ends that nobody needs any more
}
