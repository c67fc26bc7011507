package connection_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/connection"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// The table is written out a second time here on purpose: a changed rule has
// to be changed in two places.
func TestMoveFollowsTheTableAndNothingElse(t *testing.T) {
	legal := map[connection.State][]connection.State{
		connection.Requested:               {connection.LinkCreated, connection.Failed, connection.Erased},
		connection.LinkCreated:             {connection.CallbackReceived, connection.Failed, connection.Erased},
		connection.CallbackReceived:        {connection.Established, connection.Failed, connection.ReauthorizationRequired, connection.Erased},
		connection.Established:             {connection.CallbackReceived, connection.ReauthorizationRequired, connection.Erased},
		connection.Failed:                  {connection.LinkCreated, connection.CallbackReceived, connection.Erased},
		connection.ReauthorizationRequired: {connection.CallbackReceived, connection.Established, connection.Erased},
		connection.Erased:                  {},
	}
	if len(legal) != len(connection.States()) {
		t.Fatalf("the test knows %d states, the package %d", len(legal), len(connection.States()))
	}
	for _, from := range connection.States() {
		for _, to := range connection.States() {
			r := connection.New("c1", "u1", noon)
			r.State = from
			got, err := r.Move(to, noon.Add(time.Hour), "why")
			switch {
			case from == to:
				if err != nil || len(got.History) != len(r.History) {
					t.Errorf("%s → %s: %v, history %v; want no change", from, to, err, got.History)
				}
			case slices.Contains(legal[from], to):
				want := connection.Step{From: from, To: to, At: noon.Add(time.Hour), Reason: "why"}
				if err != nil || got.State != to || !got.Since.Equal(want.At) || got.History[len(got.History)-1] != want {
					t.Errorf("%s → %s: %v, %+v", from, to, err, got)
				}
			default:
				te, ok := errors.AsType[*connection.TransitionError](fmt.Errorf("x: %w", err))
				if !ok || *te != (connection.TransitionError{ID: "c1", From: from, To: to}) {
					t.Errorf("%s → %s: got error %v, want a TransitionError", from, to, err)
				}
				if got.State != from {
					t.Errorf("%s → %s: the refused move changed the state to %s", from, to, got.State)
				}
			}
		}
	}
}

func TestUnknownStatesGoNowhere(t *testing.T) {
	r := connection.New("c1", "u1", noon)
	if _, err := r.Move("dancing", noon, ""); err == nil {
		t.Error("moved to a state that does not exist")
	}
	r.State = "dancing"
	for _, to := range append(connection.States(), "dancing") {
		if _, err := r.Move(to, noon, ""); err == nil {
			t.Errorf("moved from a state that does not exist to %s", to)
		}
	}
}

func TestOnlyErasedIsTerminal(t *testing.T) {
	for _, s := range connection.States() {
		if s.Terminal() != (s == connection.Erased) {
			t.Errorf("%s: terminal = %v", s, s.Terminal())
		}
	}
	if connection.State("dancing").Terminal() {
		t.Error("an unknown state is called terminal")
	}
}

func TestHistoryKeepsTheNewestSteps(t *testing.T) {
	r := connection.New("c1", "u1", noon)
	r.State = connection.Established
	before := r
	for i := range 100 {
		to := connection.ReauthorizationRequired
		if i%2 == 1 {
			to = connection.Established
		}
		var err error
		if r, err = r.Move(to, noon.Add(time.Duration(i)*time.Hour), fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.History) != connection.MaxHistory || r.History[0].Reason != "50" || r.History[49].Reason != "99" {
		t.Errorf("%d steps, from %q to %q", len(r.History), r.History[0].Reason, r.History[len(r.History)-1].Reason)
	}
	if len(before.History) != 1 {
		t.Error("Move changed its receiver")
	}
}

func TestEndingsRememberWhyAndSuccessForgets(t *testing.T) {
	r := connection.New("c1", "u1", noon)
	r, err := r.Fail(noon, "link_rejected", "finx: 400")
	if err != nil || r.State != connection.Failed || r.LastError.Reason != "link_rejected" {
		t.Fatalf("%v %+v", err, r)
	}
	for _, to := range []connection.State{connection.CallbackReceived, connection.Established} {
		if r, err = r.Move(to, noon.Add(time.Hour), ""); err != nil {
			t.Fatal(err)
		}
	}
	if r.LastError != nil || !r.EstablishedAt.Equal(noon.Add(time.Hour)) {
		t.Errorf("after success: %+v", r)
	}
	r, err = r.RequireReauthorization(noon.Add(2*time.Hour), "refresh_rejected", "")
	if err != nil || r.State != connection.ReauthorizationRequired || r.LastError.Reason != "refresh_rejected" {
		t.Fatalf("%v %+v", err, r)
	}
	if r, err = r.Move(connection.Established, noon.Add(3*time.Hour), ""); err != nil || !r.EstablishedAt.Equal(noon.Add(time.Hour)) {
		t.Errorf("%v: the first establishment moved to %v", err, r.EstablishedAt)
	}
	if got, err := r.Fail(noon, "x", ""); err == nil || got.LastError != nil {
		t.Error("an established connection was failed")
	}
	if got := r.Note(noon, "finx_down", "503"); got.State != connection.Established || got.LastError.Detail != "503" || r.LastError != nil {
		t.Errorf("Note: %+v", got)
	}
}

// Two handlers start from one read; what each makes of it must not show up in
// the other's copy.
func TestCopiesShareNothingThatChanges(t *testing.T) {
	base := connection.New("c1", "u1", noon).SetMark("A1", connection.AccountMark{Until: "2026-11-01"}).MarkFetchDone("f0")
	for range 4 { // grow, so that the slices have room to spare
		for _, to := range []connection.State{connection.CallbackReceived, connection.Established} {
			base.State = connection.ReauthorizationRequired
			var err error
			if base, err = base.Move(to, noon, "base"); err != nil {
				t.Fatal(err)
			}
		}
	}
	one, err := base.Move(connection.Erased, noon, "one")
	if err != nil {
		t.Fatal(err)
	}
	other, err := base.RequireReauthorization(noon, "other", "")
	if err != nil {
		t.Fatal(err)
	}
	other = other.SetMark("A1", connection.AccountMark{Until: "2026-12-01"}).MarkFetchDone("f1")
	if got := one.History[len(one.History)-1].Reason; got != "one" {
		t.Errorf("the other's step %q is in this one's history", got)
	}
	if one.Accounts["A1"].Until != "2026-11-01" || one.FetchDone("f1") || one.LastError != nil {
		t.Errorf("the other's changes are here: %+v", one)
	}
	if other.Accounts["A1"].Until != "2026-12-01" || !other.FetchDone("f1") || other.LastError == nil {
		t.Errorf("the other's changes are lost: %+v", other)
	}
}
