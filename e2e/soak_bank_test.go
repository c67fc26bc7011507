package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/streams"
)

// served is what the sandbox serves of an account in a window.
type served struct {
	digest       string
	transactions int
	oversize     int
}

// bankBook compares every completed fetch with what the sandbox serves.
func (s *soak) bankBook(b *soakBooks) {
	s.t.Helper()
	byUser := map[string][]string{}
	for id, f := range s.shelf.fetches {
		byUser[f.user] = append(byUser[f.user], id)
	}
	fetches, whole, transactions := 0, 0, 0
	for user, ids := range byUser {
		bearer := connected(s.t, s.base, user, func(location string) *url.URL {
			back, err := s.sandbox.Approve(location)
			if err != nil {
				s.t.Fatal(err)
			}
			return back
		})
		known := map[string]served{}
		for _, id := range ids {
			fetches++
			n, err := s.compare(id, bearer, known)
			if err != nil {
				b.problemf("fetch %s of %s: %v", id, user, err)
				continue
			}
			whole++
			transactions += n
		}
	}
	b.linef("bank: %d transactions in completed fetches", transactions)
	b.equal("completed fetches that are byte for byte what finX serves", whole, fetches)
}

// compare holds one fetch against the sandbox and counts its transactions.
func (s *soak) compare(fetchID, bearer string, known map[string]served) (transactions int, err error) {
	fetch := s.shelf.fetches[fetchID]
	if len(fetch.accounts) != 2 {
		return 0, fmt.Errorf("%d accounts, want 2", len(fetch.accounts))
	}
	for _, a := range fetch.accounts {
		key := a.id + " " + a.window.Since + " " + a.window.Until
		want, ok := known[key]
		if !ok {
			want = s.serves(bearer, a)
			known[key] = want
		}
		for n := range want.oversize {
			id := oversizeID(fetchID, a.id, n)
			s.ledger.expect(input{kind: anOversizeEntry, id: id, key: "event " + id})
		}
		if a.digest != want.digest || a.transactions != want.transactions {
			return 0, fmt.Errorf("account %s is not what finX serves from %q to %q: %d transactions, want %d", a.id, a.window.Since, a.window.Until, a.transactions, want.transactions)
		}
		transactions += a.transactions
	}
	return transactions, nil
}

func (s *soak) serves(bearer string, a wholeAccount) served {
	sum := newStream()
	out := served{}
	everything(s.t, s.base, bearer, a.id, a.window, func(objects []byte) {
		sum.take(objects)
		if len(objects) < soakOversize {
			return
		}
		var list []json.RawMessage
		if err := json.Unmarshal(slices.Concat([]byte{'['}, objects, []byte{']'}), &list); err != nil {
			s.t.Error(err)
		}
		for _, one := range list {
			if len(one) >= soakOversize {
				out.oversize++
			}
		}
	})
	out.digest, out.transactions = sum.String(), sum.count
	return out
}

// consumer asks how a lane stands.
func (s *soak) consumer(durable string) *jetstream.ConsumerInfo {
	s.t.Helper()
	stream := map[string]string{
		streams.DurableConnects: events.StreamRequests, streams.DurableSyncs: events.StreamRequests,
		streams.DurableCallbacks: events.StreamCallbacks, streams.DurableDue: events.StreamTimers,
	}[durable]
	var info *jetstream.ConsumerInfo
	natstest.Eventually(s.t, within, func() bool {
		c, err := s.js.Consumer(s.t.Context(), stream, durable)
		if err == nil {
			info = c.CachedInfo()
		}
		return err == nil
	}, durable+" answers")
	return info
}

// quiet reports whether lanes have nothing to deliver and nothing under way.
func (s *soak) quiet(durables ...string) bool {
	for _, d := range durables {
		if info := s.consumer(d); info.NumPending > 0 || info.NumAckPending > 0 {
			return false
		}
	}
	return true
}

// held returns what the brokers still hold: the inputs behind what a lane has
// settled, and those that are parked.
func (s *soak) held() func(input) bool {
	type lane struct {
		floor uint64
		any   bool
	}
	at := func(durable string) lane {
		info := s.consumer(durable)
		return lane{info.AckFloor.Stream, info.NumPending > 0 || info.NumAckPending > 0}
	}
	connects, callbacks, syncs := at(streams.DurableConnects), at(streams.DurableCallbacks), at(streams.DurableSyncs)
	timers := s.timers()
	return func(in input) bool {
		if timers[fmt.Sprintf("%s.park.%s.%d", events.SubjectTimer, in.stream, in.sequence)] > 0 {
			return true
		}
		mine := connects
		switch in.kind {
		case aSync, aFirstSync, aTimerSync, aBadSync:
			mine = syncs
		case aConnect, aBadConnect:
		case aRevocation, anOversizeEntry:
			return false
		default:
			mine = callbacks
		}
		return mine.any && in.sequence > mine.floor
	}
}

// catchUp waits until everything that is stored has been read.
func (s *soak) catchUp() {
	s.t.Helper()
	for _, r := range s.readers {
		natstest.Eventually(s.t, within, func() bool {
			stream, err := s.js.Stream(s.t.Context(), r.stream)
			return err == nil && r.next.Load() > stream.CachedInfo().State.LastSeq
		}, r.stream+" read to its end")
	}
}
