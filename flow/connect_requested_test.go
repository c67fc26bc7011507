package flow_test

import (
	"net/http"
	"testing"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/flow"
	"github.com/finx-connector/finx-connector/internal/fault"
)

func TestConnectMakesOneLink(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	for range 3 { // the broker may deliver it again and again
		rec, link := r.connect("c-1", "their-state")
		if rec.State != connection.LinkCreated || rec.UserID != userID || rec.FlowID == "" || link.State != "their-state" {
			t.Fatalf("record %+v, state %q", rec, link.State)
		}
	}
	if n := r.sandbox.Stats().LinksCreated; n != 1 {
		t.Errorf("%d links, want 1", n)
	}
	if n := len(r.published(events.TypeWidgetLinkCreated)); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

func TestConnectWithoutStateGetsARandomOne(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	_, a := r.connect("c-1", "")
	_, b := r.connect("c-2", "")
	if len(a.State) < 20 || a.State == b.State {
		t.Errorf("states %q and %q", a.State, b.State)
	}
}

func TestConnectAfterACrashKeepsStateAndID(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	e, in := event("c-1"), events.ConnectRequested{UserID: userID, RedirectURI: redirectURI}
	r.bus.failOn(events.TypeWidgetLinkCreated)
	if err := r.ConnectRequested(t.Context(), e, in); fault.Of(err) != fault.Retry {
		t.Fatalf("error %v, want one to retry", err)
	}
	before := r.record(events.ConnectionID(e))
	r.bus.failOn("")
	_, link := r.connect("c-1", "")
	if link.State != before.OAuthState {
		t.Error("the random state changed between two deliveries of one event")
	}
}

func TestConnectRefusals(t *testing.T) {
	r := newRig(t, finxtest.Options{}, func(c *flow.Config) {
		var err error
		if c.Redirects, err = events.ParseRedirectPolicy("https://app.example"); err != nil {
			t.Fatal(err)
		}
	})
	r.connect("c-1", "state-1")
	cases := []struct {
		name, id, field string
		in              events.ConnectRequested
	}{
		{"foreign redirect_uri", "c-2", "redirect_uri", events.ConnectRequested{UserID: userID, RedirectURI: "https://app.example.evil.test/callback"}},
		{"state of another connection", "c-3", "state", events.ConnectRequested{UserID: "bob", RedirectURI: redirectURI, State: "state-1"}},
		{"event id of another user", "c-1", "id", events.ConnectRequested{UserID: "bob", RedirectURI: redirectURI, State: "state-1"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := r.ConnectRequested(t.Context(), event(c.id), c.in)
			wantField(t, err, c.field, fault.Rejected)
		})
	}
	if n := r.sandbox.Stats().LinksCreated; n != 1 {
		t.Errorf("%d links were made, want the first one only", n)
	}
}

func TestConnectRefusedByFinXTellsUpstream(t *testing.T) {
	r := newRig(t, finxtest.Options{})
	if _, err := r.sandbox.AddFault(finxtest.Fault{Call: "access", Status: http.StatusBadRequest, Code: 1000}); err != nil {
		t.Fatal(err)
	}
	e := event("c-1")
	in := events.ConnectRequested{UserID: userID, RedirectURI: redirectURI, State: "s"}
	r.must(r.ConnectRequested(t.Context(), e, in))
	if got := r.reasons(events.TypeConnectionFailed); len(got) != 1 || got[0] != events.ReasonLinkRejected {
		t.Errorf("connection.failed %v", got)
	}
	if rec := r.record(events.ConnectionID(e)); rec.State != connection.Failed || rec.LastError == nil {
		t.Errorf("record %+v", rec)
	}
}
