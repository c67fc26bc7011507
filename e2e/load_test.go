package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
)

// load is an upstream at work: users who connect, come back from the bank and
// have their data fetched again and again, several at a time. It repeats each
// input under the same Nats-Msg-Id until the broker has acknowledged it.
type load struct {
	*rig
	fetches int // asked for by each user after the first one

	ctx  context.Context
	halt context.CancelFunc // no further user comes
	wait sync.WaitGroup

	mu      sync.Mutex
	inputs  []ackedInput
	repeats int           // publishes that were not acknowledged
	longest time.Duration // from an input's first publish to its acknowledgement
}

// ackedInput is an event that the broker has acknowledged.
type ackedInput struct {
	typ, id      string
	connectionID string // of a callback or a sync
}

// newLoad is an upstream that has not begun; each of its users has the data
// fetched that often after the first time.
func newLoad(r *rig, fetches int) *load {
	r.t.Helper()
	l := &load{rig: r, fetches: fetches}
	l.ctx, l.halt = context.WithCancel(context.WithoutCancel(r.t.Context()))
	r.t.Cleanup(l.end)
	return l
}

// run starts users, one after the other on each of some lines, until end.
func (l *load) run(lines int) {
	for line := range lines {
		l.wait.Go(func() {
			for n := 0; l.ctx.Err() == nil; n++ {
				if err := l.user(fmt.Sprintf("load-%d-%d@example.com", line, n)); err != nil {
					l.t.Error(err)
					return
				}
			}
		})
	}
}

// together does n things at the same time and waits for all.
func (l *load) together(n int, do func(i int) error) {
	l.t.Helper()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if err := do(i); err != nil {
				l.t.Error(err)
			}
		})
	}
	all.Wait()
	if l.t.Failed() {
		l.t.FailNow()
	}
}

// end lets the users under way come to their end, and no further one begin.
func (l *load) end() {
	l.halt()
	l.wait.Wait()
}

// user connects one user and has the data fetched.
func (l *load) user(name string) error {
	id, err := l.publishUntilAcked(events.TypeConnectRequested, "", map[string]any{"user_id": name, "redirect_uri": redirectURI})
	if err != nil {
		return err
	}
	link, err := l.expect("link of "+name, func(e event) bool { return e.Type == events.TypeWidgetLinkCreated && e.CausationID == id })
	if err != nil {
		return err
	}
	back, err := l.sandbox.Approve(link.Location)
	if err != nil {
		return err
	}
	if _, err = l.publishUntilAcked(events.TypeCallbackReceived, link.ConnectionID, map[string]any{"callback_url": back.String()}); err != nil {
		return err
	}
	_, err = l.expect("first fetch of "+name, func(e event) bool {
		return e.Type == events.TypeFetchCompleted && e.ConnectionID == link.ConnectionID && e.Trigger == events.TriggerCallback
	})
	for range l.fetches {
		if err != nil || l.ctx.Err() != nil {
			break
		}
		err = l.fetch(link.ConnectionID)
	}
	return err
}

// fetch asks for one more fetch and waits for its end.
func (l *load) fetch(connectionID string) error {
	id, err := l.publishUntilAcked(events.TypeSyncRequested, connectionID, syncData(connectionID))
	if err != nil {
		return err
	}
	return l.fetchedBy(id)
}

// fetchedBy waits for the fetch that an event has asked for.
func (l *load) fetchedBy(id string) error {
	_, err := l.expect("fetch by "+id, func(e event) bool { return e.Type == events.TypeFetchCompleted && e.CausationID == id })
	return err
}

// publishUntilAcked repeats a publish until the broker says that it has the event.
func (l *load) publishUntilAcked(typ, connectionID string, data any) (id string, err error) {
	id = events.NewUUID()
	msg := &nats.Msg{Subject: l.codec.Subject(typ), Data: encode(l.t, data), Header: nats.Header{events.HeaderMsgID: {id}}}
	begun := time.Now()
	for {
		ctx, cancel := context.WithTimeout(l.t.Context(), 2*time.Second)
		_, err = l.js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0))
		cancel()
		if err == nil {
			break
		}
		if l.t.Context().Err() != nil || time.Since(begun) > patience {
			return "", fmt.Errorf("publishing %s: %w", typ, err)
		}
		l.mu.Lock()
		l.repeats++
		l.mu.Unlock()
		pause(l.t, 20*time.Millisecond) // as an upstream would
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inputs = append(l.inputs, ackedInput{typ: typ, id: id, connectionID: connectionID})
	l.longest = max(l.longest, time.Since(begun))
	return id, nil
}

// expect waits for an output; unlike event it may be called off the test's
// goroutine.
func (l *load) expect(what string, match func(event) bool) (event, error) {
	limit := time.NewTimer(loadPatience)
	defer limit.Stop()
	for {
		l.seen.mu.Lock()
		fresh := l.seen.fresh
		i := slices.IndexFunc(l.seen.events, match)
		var found event
		if i >= 0 {
			found = l.seen.events[i]
		}
		l.seen.mu.Unlock()
		if i >= 0 {
			return found, nil
		}
		select {
		case <-fresh:
		case <-limit.C:
			return event{}, fmt.Errorf("no %s within %s", what, loadPatience)
		case <-l.t.Context().Done():
			return event{}, l.t.Context().Err()
		}
	}
}

// loadPatience bounds the wait for one output under load, with elections and
// dead processes in the way.
const loadPatience = 90 * time.Second

// acked returns the inputs that the broker has.
func (l *load) acked(typ string) []ackedInput {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.inputs), func(in ackedInput) bool { return in.typ != typ })
}

// progress waits until n further outputs of a type have come, under way since
// the call.
func (l *load) progress(typ string, n int) {
	l.t.Helper()
	before := l.count(typ)
	await(l.rig, loadPatience, fmt.Sprintf("%d further %s", n, typ), func() (bool, bool) {
		return true, l.seen.counted(l.codec, typ) >= before+n
	})
}

// silence is the longest time between two outputs since then.
func (l *load) silence(since time.Time) (longest time.Duration) {
	l.seen.mu.Lock()
	defer l.seen.mu.Unlock()
	for _, e := range l.seen.events {
		if e.Message.Time.After(since) {
			longest, since = max(longest, e.Message.Time.Sub(since)), e.Message.Time
		}
	}
	return longest
}
