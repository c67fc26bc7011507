package e2e_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/app"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/publisher"
	"github.com/finx-connector/finx-connector/streams"
)

// beforeAndAfter is an installation whose broker was backed up in the middle:
// each of its customers went on after that.
type beforeAndAfter struct {
	*rig
	early  event    // established before, rotated after
	midway event    // had his link before, came back after
	late   event    // came after
	back   *url.URL // of midway
	lates  *url.URL // of late
	copy   map[string]streamBackup
}

const lateConnect = "upstream-connect-late"

// liveThrough brings an installation there and stops its connector. finX takes
// nothing twice.
func liveThrough(t *testing.T, vaultOf func(r *rig)) *beforeAndAfter {
	t.Helper()
	s := &beforeAndAfter{rig: newRig(t, options{
		sandbox: finxtest.Options{RevokeOnReuse: true, Shape: finxtest.Shape{Accounts: 1, Transactions: 5}},
		env:     map[string]string{"SYNC_INTERVAL": "12h"},
	})}
	if vaultOf != nil {
		vaultOf(s.rig)
	}
	stop := s.start()
	s.early, _ = s.establish("early@example.com")
	s.midway = s.connect("midway@example.com")
	s.back = s.approve(s.midway.Location)

	pub, err := publisher.New(publisher.Config{JS: s.js, Codec: s.codec})
	if err != nil {
		t.Fatal(err)
	}
	err = pub.ScheduleSync(t.Context(), s.early.ConnectionID, time.Now().Add(2*time.Second), events.SyncRequested{ConnectionID: s.early.ConnectionID, Trigger: events.TriggerSchedule})
	if err != nil {
		t.Fatal(err)
	}
	s.copy = backup(t, s.nc)

	s.completed(s.early.ConnectionID, 2) // the timer came due here too
	s.callback(s.back)
	s.completed(s.midway.ConnectionID, 1)
	s.connectAs(lateConnect, "late@example.com", "state-of-late")
	s.late = s.link(lateConnect)
	s.lates = s.approve(s.late.Location)
	s.callback(s.lates)
	s.completed(s.late.ConnectionID, 1)
	s.sandbox.Advance(2 * time.Hour) // every access token is dead
	s.send(events.TypeSyncRequested, map[string]any{"connection_id": s.early.ConnectionID})
	s.completed(s.early.ConnectionID, 3)
	stop()
	return s
}

// connectAs sends a connect request whose id and state upstream has chosen.
func (r *rig) connectAs(id, user, state string) {
	r.t.Helper()
	data := map[string]any{"user_id": user, "redirect_uri": redirectURI, "state": state}
	r.publish(events.TypeConnectRequested, r.structured(events.TypeConnectRequested, id, data), events.HeaderMsgID, events.NewUUID())
}

// TestABrokerThatWasRestoredOlderThanVault: the broker knows less than Vault. No
// code goes to finX twice, every token that Vault holds is used on, the timers of
// the copy come due, and upstream's own requests bring the rest back.
func TestABrokerThatWasRestoredOlderThanVault(t *testing.T) {
	t.Parallel()
	s := liveThrough(t, nil)
	fresh := natstest.Start(t)
	restore(t, natstest.Connect(t, fresh.URL()), s.copy)
	r := s.elsewhere(fresh)
	r.watch()
	if changes, err := app.Topology(r.settings()).Diff(t.Context(), r.js); err != nil || len(streams.Pending(changes))+len(streams.Left(changes)) != 0 {
		t.Errorf("`streams check` says of the restored broker %v, %v", changes, err)
	}
	before := s.sandbox.Stats()
	r.start()

	// The timer of the copy. Vault holds newer tokens than the record knows of.
	second := r.completed(s.early.ConnectionID, 2)
	if second.Trigger != events.TriggerSchedule {
		t.Errorf("the second fetch was asked for by %q", second.Trigger)
	}
	// Upstream's callback comes again: to the broker it is news, to Vault it is not.
	r.callback(s.back)
	r.completed(s.midway.ConnectionID, 1)
	// Of the third the broker knows nothing. The same request makes the same connection.
	r.connectAs(lateConnect, "late@example.com", "state-of-late")
	if again := r.link(lateConnect); again.ConnectionID != s.late.ConnectionID {
		t.Errorf("the same request made connection %s, and %s before", again.ConnectionID, s.late.ConnectionID)
	}
	r.callback(s.lates)
	r.completed(s.late.ConnectionID, 1)

	after := s.sandbox.Stats()
	if after.CodesExchanged != before.CodesExchanged || after.CodesReused != before.CodesReused || after.RefreshesReused != 0 || after.FamiliesRevoked != 0 {
		t.Errorf("finX saw %+v, and %+v before", after, before)
	}
	for _, id := range []string{s.early.ConnectionID, s.midway.ConnectionID, s.late.ConnectionID} {
		if n := len(r.seen.of(events.TypeReauthorizationRequired, id)) + len(r.seen.of(events.TypeConnectionFailed, id)); n != 0 {
			t.Errorf("%d times the end of %s was told", n, id)
		}
		if r.kept(id)["pending"] != nil {
			t.Errorf("the journal of %s is open", id)
		}
	}
	if letters := r.seen.lettersSoFar(); len(letters) != 0 {
		t.Errorf("%d dead letters, the first on %s: %s", len(letters), letters[0].Subject, letters[0].Header)
	}
}

// TestABrokerThatWasLostWithoutACopy: nothing is left but Vault. What upstream
// sends again establishes the connections again, without a human and without a
// code that is used twice; nobody's tokens are touched before.
func TestABrokerThatWasLostWithoutACopy(t *testing.T) {
	t.Parallel()
	s := liveThrough(t, nil)
	r := s.elsewhere(natstest.Start(t))
	r.apply(r.settings())
	r.watch()
	before := s.sandbox.Stats()
	asked := r.quiet(0)
	r.start()
	// A sync of a connection that nobody knows is a dead letter, and asks finX nothing.
	stream, sequence := r.publish(events.TypeSyncRequested, encode(t, map[string]any{"connection_id": s.early.ConnectionID}), events.HeaderMsgID, events.NewUUID())
	r.letter(stream, sequence)
	if n := r.quiet(2 * time.Second); n != asked {
		t.Errorf("%d token calls of a connector that knows nobody", n-asked)
	}
	r.connectAs(lateConnect, "late@example.com", "state-of-late")
	r.link(lateConnect)
	r.callback(s.lates)
	r.completed(s.late.ConnectionID, 1)
	if after := s.sandbox.Stats(); after.CodesExchanged != before.CodesExchanged || after.CodesReused != before.CodesReused || after.RefreshesReused != 0 {
		t.Errorf("finX saw %+v, and %+v before", after, before)
	}
}

// TestASnapshotKeepsEverything: messages with sequence and time, keys, timers and
// how far each consumer is.
func TestASnapshotKeepsEverything(t *testing.T) {
	t.Parallel()
	s := liveThrough(t, nil)
	fresh := natstest.Start(t)
	restore(t, natstest.Connect(t, fresh.URL()), backup(t, s.nc))
	js := natstest.JetStream(t, fresh.URL())
	list := s.js.ListStreams(t.Context())
	for want := range list.Info() {
		got, err := js.Stream(t.Context(), want.Config.Name)
		if err != nil {
			t.Errorf("%s: %v", want.Config.Name, err)
			continue
		}
		// What a time to live took away meanwhile is no loss.
		if is := got.CachedInfo().State; is.LastSeq != want.State.LastSeq || is.FirstSeq < want.State.FirstSeq || is.Msgs > want.State.Msgs {
			t.Errorf("%s: %d to %d, want %d to %d", want.Config.Name, is.FirstSeq, is.LastSeq, want.State.FirstSeq, want.State.LastSeq)
		}
		checkConsumers(t, s.js, js, want.Config.Name)
	}
	if list.Err() != nil {
		t.Fatal(list.Err())
	}
}

func checkConsumers(t *testing.T, was, is jetstream.JetStream, stream string) {
	t.Helper()
	from, err := was.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	list := from.ListConsumers(t.Context())
	for want := range list.Info() {
		if want.Config.Durable == "" {
			continue
		}
		got, err := is.Consumer(t.Context(), stream, want.Config.Durable)
		if err != nil || got.CachedInfo().AckFloor.Stream != want.AckFloor.Stream {
			t.Errorf("consumer %s of %s is not where it was: %v", want.Config.Durable, stream, err)
		}
	}
	if list.Err() != nil {
		t.Fatal(list.Err())
	}
}
