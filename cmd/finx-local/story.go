package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
)

// story is one connection played through: the user is a program, everything
// else is real.
type story struct {
	up      *upstream
	seen    *observer
	sandbox *finxtest.Sandbox
	print   *printer
	// want is how many transactions the sandbox holds for the user.
	want int
}

// play returns nil when the whole job happened and every number is right.
func (s *story) play(ctx context.Context, userID string) error {
	begin := time.Now()
	s.print.stepf("upstream asks for a bank connection")
	id, err := s.up.connect(ctx, userID, nil)
	if err != nil {
		return err
	}
	link, err := s.seen.await(ctx, events.TypeWidgetLinkCreated, func(e seen) bool {
		return e.Type == events.TypeWidgetLinkCreated && e.CausationID == id
	})
	if err != nil {
		return err
	}
	s.print.stepf("the user opens the link, logs in at the bank and approves")
	back, err := s.sandbox.Approve(link.location)
	if err != nil {
		return fmt.Errorf("playing the user: %w", err)
	}
	s.print.stepf("the browser comes back to %s with %s", back.Scheme+"://"+back.Host+back.Path, parameters(back))
	if err := s.up.callback(ctx, back.String()); err != nil {
		return err
	}
	completed, err := s.seen.await(ctx, events.TypeFetchCompleted, func(e seen) bool {
		if e.ConnectionID != link.ConnectionID {
			return false
		}
		return e.Type == events.TypeFetchCompleted || e.Type == events.TypeConnectionFailed || e.Type == events.TypeFetchFailed
	})
	if err != nil {
		return err
	}
	if err := s.check(link.ConnectionID, completed); err != nil {
		return err
	}
	s.print.stepf("done in %.1fs: %d transactions, every part accounted for", time.Since(begin).Seconds(), s.want)
	return nil
}

// check holds what arrived against what the sandbox gave out.
func (s *story) check(connectionID string, completed seen) error {
	if completed.Type != events.TypeFetchCompleted {
		return fmt.Errorf("%s: %s", completed.Type, completed.payload.Reason)
	}
	if got := string(completed.payload.Transactions); got != fmt.Sprint(s.want) {
		return fmt.Errorf("%s transactions arrived, the sandbox has %d", got, s.want)
	}
	parts := map[string]bool{}
	for _, e := range s.seen.of(connectionID) {
		if e.Type == events.TypeTransactionsFetched {
			parts[e.ID] = true
		}
	}
	for _, id := range completed.payload.EventIDs {
		if !parts[id] {
			return fmt.Errorf("part %s is named by %s and did not arrive", id, events.TypeFetchCompleted)
		}
	}
	stats := s.sandbox.Stats()
	if stats.CodesReused != 0 {
		return errors.New("a code was used twice")
	}
	return nil
}

// parameters names what the bank sent back, without the values.
func parameters(u *url.URL) string {
	return "the parameters " + strings.Join(slices.Sorted(maps.Keys(u.Query())), ", ")
}
