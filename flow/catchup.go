package flow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

const (
	lockCatchUp = "keepalive.catchup"
	// catchUpKeep is how many overdue connections one walk remembers, the most
	// urgent ones; the rest is found by the next walk. Some 20 MB.
	catchUpKeep = 100_000
	// catchUpWidth is how many rotations of a catch-up may be under way at once.
	catchUpWidth = 16
	// outageSigns is how many failures in a row mean that finX or Vault is away,
	// and not that one connection is ill.
	outageSigns = 5
)

// CatchUp rotates what the timers should have rotated: after the service was
// down, after the timers were lost, and for connections that never had one. It
// sets the timers of fetches again that are long overdue. One replica at a time
// does it; the others return at once.
//
// It walks all records and takes the overdue in the order in which their tokens
// end, whatever order the broker fires overdue timers in; those whose end has
// passed come last, because they lose nothing by waiting. It returns when
// everything overdue was tried, with an error when finX, Vault or the broker
// turned out to be away, and when ctx ends. Unreadable records are logged.
func (f *Flow) CatchUp(ctx context.Context) error {
	defer f.surveyed.Store(true) // whoever does it instead, and also when nobody could
	return f.alone(ctx, lockCatchUp, f.catchUpAll)
}

func (f *Flow) catchUpAll(held context.Context) error {
	for {
		lost := f.lost(time.Now())
		list, more, err := f.overdue(held, catchUpKeep, lost)
		if err != nil && held.Err() == nil && fault.DependencyOf(err) == "" {
			// Records that nobody can read: walking again would not change them.
			f.Logger.ErrorContext(held, "catch-up passes over connections", "error", err)
			err = nil
		}
		run := &catchUp{Flow: f, slots: make(chan struct{}, catchUpWidth)}
		runErr := f.resetTimers(held, lost.found)
		if runErr == nil {
			runErr = run.all(held, list)
		}
		if runErr == nil && err == nil && !more {
			f.Metrics.finished(dutyWalk)
			return nil
		}
		if runErr != nil || err != nil {
			return errors.Join(runErr, err)
		}
	}
}

// overdueConnection is a connection whose timer should have fired, or that has none.
type overdueConnection struct {
	id      string
	urgency time.Time
}

// overdue returns the most urgent overdue connections in order, and whether
// there are more than limit. lost sees every record. An error may come with a
// usable list.
func (f *Flow) overdue(ctx context.Context, limit int, lost *lostTimers) (list []overdueConnection, more bool, err error) {
	b, now := f.Background, time.Now()
	all := newCensus(now, b.Lifetime)
	cut := func() {
		slices.SortFunc(list, func(a, c overdueConnection) int { return a.urgency.Compare(c.urgency) })
		if len(list) > limit {
			list, more = list[:limit], true
		}
	}
	err = b.Catalogue.List(ctx, func(rec connection.Record) error {
		all.count(rec)
		lost.see(rec)
		if rec.State != connection.Established || rec.KeepAliveAt.After(now) {
			return nil
		}
		list = append(list, overdueConnection{rec.ID, b.urgency(rec, now)})
		if len(list) >= 2*limit {
			cut() // what is less urgent comes with the next walk
		}
		return nil
	})
	cut()
	if err == nil || (ctx.Err() == nil && fault.DependencyOf(err) == "") { // unreadable records are in no count
		f.Metrics.counted(all)
	}
	if err != nil {
		return list, more, fmt.Errorf("flow: looking for overdue connections: %w", err)
	}
	return list, more, nil
}

// catchUp is one run over a list of overdue connections.
type catchUp struct {
	*Flow
	slots chan struct{}

	mu    sync.Mutex
	signs int   // failures of finX or Vault in a row
	err   error // that ends the run
}

func (c *catchUp) all(ctx context.Context, list []overdueConnection) error {
	if len(list) > 0 {
		c.Logger.InfoContext(ctx, "catching up on refresh tokens", "connections", len(list))
	}
	var work sync.WaitGroup
	defer work.Wait()
	for _, one := range list {
		select {
		case c.slots <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("flow: catching up: %w", context.Cause(ctx))
		}
		job, err := c.next(ctx, one.id)
		c.surveyed.Store(true) // the most urgent one has its permit; timers may wait for theirs
		if job == nil {
			c.ended(err)
			<-c.slots
		}
		if err := c.stopped(); err != nil {
			return err
		}
		if job == nil {
			continue
		}
		work.Go(func() {
			defer func() { <-c.slots }()
			c.ended(job())
		})
	}
	work.Wait()
	return c.stopped()
}

// next returns the rotation of a connection when its turn has come, nil when
// nothing is left to rotate.
func (c *catchUp) next(ctx context.Context, id string) (job func() error, err error) {
	rec, rev, err := c.Records.Get(ctx, id)
	if errors.Is(err, connection.ErrNotFound) || (err == nil && rec.State != connection.Established) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("flow: reading the connection: %w", err)
	}
	now := time.Now()
	if !c.Background.isDue(rec, now) {
		return nil, c.restartKeepAlive(ctx, rec, rev)
	}
	if err := c.permits.take(ctx, c.Background.urgency(rec, now), -1); err != nil {
		return nil, fmt.Errorf("flow: catching up: %w", err)
	}
	return func() error {
		failed, err := c.rotate(ctx, events.Cause{}, rec, rev)
		return errors.Join(err, failed)
	}, nil
}

// ended counts how a connection came out.
func (c *catchUp) ended(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.signs = 0
	case fault.DependencyOf(err) == "":
		// This connection's own trouble, such as a lock that is held: its timer is set.
	default:
		if c.signs++; c.signs >= outageSigns && c.err == nil {
			c.err = fmt.Errorf("flow: catching up: %d failures in a row, the last: %w", c.signs, err)
		}
	}
}

func (c *catchUp) stopped() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
