package flow_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/flow"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// ids returns the ids of events.
func ids(all []events.Output) []string {
	out := make([]string, len(all))
	for i, o := range all {
		out[i] = o.ID
	}
	return out
}

type completed struct {
	Trigger      string                  `json:"trigger"`
	Accounts     []events.AccountFetched `json:"accounts"`
	Transactions int                     `json:"transactions"`
	EventIDs     []string                `json:"event_ids"`
}

func (r *rig) completed() []completed {
	r.t.Helper()
	var out []completed
	for _, o := range r.published(events.TypeFetchCompleted) {
		var c completed
		r.must(json.Unmarshal(o.Data, &c))
		out = append(out, c)
	}
	return out
}

func TestSyncFetchesEverythingOnce(t *testing.T) {
	r := newRig(t, finxtest.Options{Shape: finxtest.Shape{Accounts: 3, PerAccount: []int{230, 100, 0}}})
	rec := r.established()
	for range 3 {
		r.must(r.sync("sync-1", events.SyncRequested{ConnectionID: rec.ID, Trigger: events.TriggerCallback}))
	}
	done := r.completed()
	if len(done) != 1 || done[0].Transactions != 330 || done[0].Trigger != events.TriggerCallback {
		t.Fatalf("completed %+v", done)
	}
	parts := r.published(events.TypeTransactionsFetched)
	if !slices.Equal(ids(parts), done[0].EventIDs) {
		t.Errorf("the parts stored are not the parts named")
	}
	if a := done[0].Accounts; len(a) != 3 || a[0].Transactions != 230 || a[2].Transactions != 0 || a[2].Parts != 1 || a[0].Parts < 2 {
		t.Errorf("accounts %+v: an empty account has one part, a large one several", a)
	}
	if n := r.sandbox.Stats().Total("accounts"); n != 1 {
		t.Errorf("%d times accounts were read: a finished fetch must not be run again", n)
	}
	after := r.record(rec.ID)
	if after.Fetch != nil || after.LastFetch == nil || after.LastFetch.Transactions != 330 || len(after.Accounts) != 3 || after.NextFetchAt.IsZero() {
		t.Errorf("record %+v", after)
	}
}

func TestSyncPassesTransactionsByteForByte(t *testing.T) {
	r := newRig(t, finxtest.Options{Shape: finxtest.Shape{Accounts: 1, Transactions: 120}})
	rec := r.established()
	r.must(r.sync("sync-1", events.SyncRequested{ConnectionID: rec.ID}))
	var got, want []byte
	for _, o := range r.published(events.TypeTransactionsFetched) {
		d, err := events.DecodeTransactionsFetched(o)
		r.must(err)
		if len(got) > 0 {
			got = append(got, ',')
		}
		got = append(got, d.Transactions...)
	}
	secrets, _, err := r.secrets.Get(t.Context(), rec.ID)
	r.must(err)
	account := r.record(rec.ID).Accounts
	for id := range account {
		for offset := 0; offset < 120; offset += 50 {
			page, err := r.Data.Transactions(t.Context(), secrets.AccessToken, finx.TransactionQuery{
				AccountID: id, Count: 50, Offset: offset, Sort: "asc", IncludePending: true,
			}, new(finx.PageBuffer))
			r.must(err)
			for _, item := range page.Items {
				if len(want) > 0 {
					want = append(want, ',')
				}
				want = append(want, item...)
			}
		}
	}
	if !bytes.Equal(got, want) {
		t.Error("what was published is not what finX sent, byte for byte")
	}
}

// A fetch that dies in the middle is the same fetch when it comes back: same
// window, same parts, same ids.
func TestSyncRepeatsUnderTheSameIDs(t *testing.T) {
	r := newRig(t, finxtest.Options{Shape: finxtest.Shape{Accounts: 2, Transactions: 300}})
	rec := r.established()
	r.bus.failOn(events.TypeFetchCompleted)
	if err := r.sync("sync-1", events.SyncRequested{ConnectionID: rec.ID}); !errors.Is(err, errBus) {
		t.Fatalf("error %v", err)
	}
	before := ids(r.published(events.TypeTransactionsFetched))
	opened := *r.record(rec.ID).Fetch
	r.bus.failOn("")
	r.must(r.sync("sync-1", events.SyncRequested{ConnectionID: rec.ID}))
	if after := ids(r.published(events.TypeTransactionsFetched)); !slices.Equal(before, after) {
		t.Errorf("%d parts before, %d after: new ids for the same content", len(before), len(after))
	}
	if last := r.record(rec.ID).LastFetch; !last.StartedAt.Equal(opened.StartedAt) {
		t.Error("the second run was another fetch")
	}
}

func TestSyncSetsTheNextTimerFirst(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	rec := r.established()
	if _, err := r.sandbox.AddFault(finxtest.Fault{Call: "accounts", Status: http.StatusBadGateway, HTML: "<html>bad gateway</html>"}); err != nil {
		t.Fatal(err)
	}
	if err := r.sync("sync-1", events.SyncRequested{ConnectionID: rec.ID}); fault.Of(err) != fault.Retry {
		t.Fatalf("error %v", err)
	}
	next := r.record(rec.ID).NextFetchAt
	if d := time.Until(next); d < 5*time.Hour || d > 7*time.Hour {
		t.Errorf("next fetch in %s", d)
	}
	s, err := r.js.Stream(t.Context(), events.StreamTimers)
	r.must(err)
	if _, err := s.GetLastMsgForSubject(t.Context(), events.SubjectTimerSync+"."+rec.ID); err != nil {
		t.Errorf("a fetch that failed has no successor: %v", err)
	}
}

func TestSyncRefreshesAndSurvivesADeadToken(t *testing.T) {
	r := newRig(t, finxtest.Options{AccessLifetime: 10 * time.Minute, Shape: finxtest.Shape{Accounts: 1, Transactions: 10}})
	rec := r.established()
	r.sandbox.Advance(11 * time.Minute) // finX's clock: the token is dead although ours says otherwise
	r.must(r.sync("sync-1", events.SyncRequested{ConnectionID: rec.ID}))
	if n := r.sandbox.Stats().Rotations; n != 1 {
		t.Errorf("%d rotations, want 1", n)
	}
	if c := r.completed(); len(c) != 1 || c[0].Transactions != 10 {
		t.Errorf("completed %+v", c)
	}
}

func TestSyncOfALostAccessAsksForTheUser(t *testing.T) {
	r := newRig(t, finxtest.Options{Shape: finxtest.Shape{Accounts: 1, Transactions: 10}})
	rec := r.established()
	r.must(r.sync("sync-1", events.SyncRequested{ConnectionID: rec.ID}))
	r.sandbox.RevokeUser(userID)
	r.must(r.sync("sync-2", events.SyncRequested{ConnectionID: rec.ID}))
	if got := r.reasons(events.TypeReauthorizationRequired); !slices.Equal(got, []string{events.ReasonRefreshRejected}) {
		t.Fatalf("reauthorization %v", got)
	}
	if got := r.reasons(events.TypeFetchFailed); !slices.Equal(got, []string{"reauthorization_required"}) {
		t.Errorf("fetch.failed %v", got)
	}
	if got := r.record(rec.ID); got.State != connection.ReauthorizationRequired || !got.NextFetchAt.IsZero() {
		t.Errorf("state %s, next fetch %s", got.State, got.NextFetchAt)
	}
	// The link in the event leads back to the same connection.
	var data struct {
		Location string `json:"location"`
	}
	r.must(json.Unmarshal(r.published(events.TypeReauthorizationRequired)[0].Data, &data))
	back, err := r.sandbox.Approve(data.Location)
	r.must(err)
	r.must(r.CallbackReceived(t.Context(), event("cb-renewal"), events.CallbackReceived{
		State: back.Query().Get("state"), Success: true, Code: secret.New(back.Query().Get("code")),
	}))
	if got := r.record(rec.ID).State; got != connection.Established {
		t.Errorf("state %s after the renewal", got)
	}
	r.must(r.sync("sync-3", events.SyncRequested{ConnectionID: rec.ID}))
}

func TestSyncWithoutAConnection(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	err := r.sync("sync-1", events.SyncRequested{ConnectionID: events.NewUUID()})
	wantField(t, err, "connection_id", fault.Rejected)

	rec, _ := r.connect("connect-1", "state-1")
	r.must(r.sync("sync-2", events.SyncRequested{ConnectionID: rec.ID}))
	if got := r.reasons(events.TypeFetchFailed); !slices.Equal(got, []string{"not_established"}) {
		t.Errorf("fetch.failed %v", got)
	}
	r.must(r.sync("sync-3", events.SyncRequested{ConnectionID: rec.ID, Trigger: events.TriggerSchedule}))
	if n := len(r.reasons(events.TypeFetchFailed)); n != 1 {
		t.Error("a timer of a connection that is not established is news to nobody")
	}
}

func TestSyncWaitsWhileAnotherFetchRuns(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	rec := r.established()
	_, release, err := r.Lock(t.Context(), "fetch."+rec.ID)
	r.must(err)
	if err := r.sync("sync-1", events.SyncRequested{ConnectionID: rec.ID}); fault.Of(err) != fault.WaitUntil {
		t.Errorf("error %v, want one that waits and counts as no attempt", err)
	}
	release()
	r.must(r.sync("sync-1", events.SyncRequested{ConnectionID: rec.ID}))
}

func TestTheNextWindowOverlapsTheLast(t *testing.T) {
	r := newRig(t, finxtest.Options{Shape: finxtest.Shape{Accounts: 1, Transactions: 40}})
	rec := r.established()
	r.must(r.sync("sync-1", events.SyncRequested{ConnectionID: rec.ID}))
	r.must(r.sync("sync-2", events.SyncRequested{ConnectionID: rec.ID}))
	r.must(r.sync("sync-3", events.SyncRequested{ConnectionID: rec.ID, Since: "2026-01-15"}))
	r.must(r.sync("sync-4", events.SyncRequested{ConnectionID: rec.ID, Full: true}))
	var since []string
	for _, o := range r.published(events.TypeTransactionsFetched) {
		d, err := events.DecodeTransactionsFetched(o)
		r.must(err)
		since = append(since, d.Window.Since)
	}
	since = slices.Compact(since)
	wantSecond := time.Now().UTC().Add(-240 * time.Hour).Format(time.DateOnly)
	if want := []string{"", wantSecond, "2026-01-15", ""}; !slices.Equal(since, want) {
		t.Errorf("windows open at %q, want %q", since, want)
	}
}

func TestATimerThatComesDueAsksForAFetch(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	id := events.NewUUID()
	r.must(r.TimerDue(t.Context(), event("timer-1"), events.SyncRequested{ConnectionID: id, Trigger: events.TriggerSchedule}))
	r.must(r.TimerDue(t.Context(), event("timer-1"), events.SyncRequested{ConnectionID: id, Trigger: events.TriggerSchedule}))
	if got := r.requested(); len(got) != 1 || got[0].ConnectionID != id || got[0].Trigger != events.TriggerSchedule {
		t.Errorf("requests %+v, want one", got)
	}
}

func TestAFetchThatIsGivenUpIsTold(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	rec := r.established()
	in := events.SyncRequested{ConnectionID: rec.ID}
	r.bus.failOn(events.TypeFetchCompleted)
	cause := r.sync("sync-1", in)
	for range 2 { // the dead letter may take a second try
		r.must(r.SyncGivenUp(t.Context(), event("sync-1"), in, fault.Exhausted, cause))
	}
	if got := r.reasons(events.TypeFetchFailed); !slices.Equal(got, []string{string(fault.Exhausted)}) {
		t.Errorf("fetch.failed %v, want one", got)
	}
	if after := r.record(rec.ID); after.Fetch != nil || after.LastError == nil || after.State != connection.Established {
		t.Errorf("record %+v", after)
	}
	r.bus.failOn("")
	r.must(r.sync("sync-2", in))
	r.must(r.SyncGivenUp(t.Context(), event("sync-2"), in, fault.Exhausted, cause))
	r.must(r.SyncGivenUp(t.Context(), event("sync-3"), events.SyncRequested{ConnectionID: events.NewUUID()}, fault.Outage, cause))
	if n := len(r.reasons(events.TypeFetchFailed)); n != 1 {
		t.Errorf("%d fetch.failed after a whole fetch and an unknown connection, want 1", n)
	}
}

// stuckBank ignores the offset, as a proxy that drops query parameters would.
type stuckBank struct{ flow.Data }

func (b stuckBank) Transactions(ctx context.Context, access secret.Text, q finx.TransactionQuery, buf *finx.PageBuffer) (finx.Page, error) {
	q.Offset = 0
	return b.Data.Transactions(ctx, access, q, buf)
}

// twiceBank lists every account two times.
type twiceBank struct{ flow.Data }

func (b twiceBank) Accounts(ctx context.Context, access secret.Text) ([]finx.Account, error) {
	all, err := b.Data.Accounts(ctx, access)
	return append(all, all...), err
}

func TestABankThatRepeatsItselfEndsTheFetch(t *testing.T) {
	r := newRig(t, finxtest.Options{Shape: finxtest.Shape{Accounts: 1, Transactions: 200}}, func(c *flow.Config) { c.Data = stuckBank{c.Data} })
	rec := r.established()
	r.must(r.sync("sync-1", events.SyncRequested{ConnectionID: rec.ID}))
	if got := r.reasons(events.TypeFetchFailed); !slices.Equal(got, []string{"rejected"}) {
		t.Errorf("fetch.failed %v, want one: the pages never end", got)
	}
}

func TestAnAccountListedTwiceIsFetchedOnce(t *testing.T) {
	r := newRig(t, finxtest.Options{Shape: finxtest.Shape{Accounts: 2, Transactions: 20}}, func(c *flow.Config) { c.Data = twiceBank{c.Data} })
	rec := r.established()
	r.must(r.sync("sync-1", events.SyncRequested{ConnectionID: rec.ID}))
	if c := r.completed(); len(c) != 1 || len(c[0].Accounts) != 2 || c[0].Transactions != 20 {
		t.Errorf("completed %+v", c)
	}
}

func TestATokenThatLivesShortIsNotRefreshedForEveryCall(t *testing.T) {
	r := newRig(t, finxtest.Options{AccessLifetime: 20 * time.Second, Shape: finxtest.Shape{Accounts: 2, Transactions: 400}})
	rec := r.established()
	r.must(r.sync("sync-1", events.SyncRequested{ConnectionID: rec.ID}))
	if n := r.sandbox.Stats().Rotations; n != 1 {
		t.Errorf("%d rotations in one fetch, want 1", n)
	}
}
