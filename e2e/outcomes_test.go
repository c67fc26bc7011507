package e2e_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/fault"
)

func TestReasonsOfAFailedConnection(t *testing.T) {
	for reason, play := range map[string]func(r *rig, link event){
		events.ReasonCancelled: func(r *rig, link event) {
			r.callback(r.left(r.sandbox.Cancel(link.Location)))
		},
		events.ReasonUnsuccessful: func(r *rig, link event) {
			r.callback(r.left(r.sandbox.Fail(link.Location)))
		},
		events.ReasonCodeExpired: func(r *rig, link event) { // two hours on its way
			r.publish(events.TypeCallbackReceived, encode(r.t, map[string]any{
				"specversion": "1.0", "id": "late", "source": "/upstream", "type": events.TypeCallbackReceived,
				"time": time.Now().Add(-2 * time.Hour).UTC().Format(time.RFC3339), "data": callbackData(r.approve(link.Location)),
			}))
		},
		events.ReasonCodeRejected: func(r *rig, link event) {
			back := r.approve(link.Location)
			r.sandbox.Advance(2 * time.Hour)
			r.callback(back)
		},
	} {
		t.Run(reason, func(t *testing.T) {
			r := newRig(t, options{memory: true})
			r.start()
			link := r.connect("fails@example.com")
			play(r, link)
			failed := r.event("failure", func(e event) bool { return e.Type == events.TypeConnectionFailed })
			if failed.Reason != reason || failed.ConnectionID != link.ConnectionID || failed.State != link.State || failed.User != "fails@example.com" {
				t.Errorf("%s", failed.Data)
			}
			sent := r.sandbox.Stats().Total("token.exchange")
			if want := map[bool]int{true: 1}[reason == events.ReasonCodeRejected]; sent != want {
				t.Errorf("%d codes were sent to finX, want %d", sent, want)
			}
		})
	}
}

func TestALinkThatFinXRefuses(t *testing.T) {
	r := newRig(t, options{memory: true})
	r.start()
	r.fault(finxtest.Fault{Call: "access", Status: 400, Code: 1000, Times: 1})
	id := r.send(events.TypeConnectRequested, map[string]any{"user_id": "u", "redirect_uri": redirectURI, "state": "mine"})
	failed := r.event("failure", func(e event) bool { return e.Type == events.TypeConnectionFailed })
	if failed.Reason != events.ReasonLinkRejected || failed.CausationID != id || failed.State != "mine" || failed.Detail == "" {
		t.Errorf("%s", failed.Data)
	}
}

// TestApprovedAfterCancelling is the user who goes back in the browser.
func TestApprovedAfterCancelling(t *testing.T) {
	r := newRig(t, options{memory: true})
	r.start()
	link := r.connect("back@example.com")
	r.send(events.TypeCallbackReceived, map[string]any{"state": link.State, "success": false, "cancel": "true"})
	r.event("failure", func(e event) bool { return e.Type == events.TypeConnectionFailed })
	r.callback(r.approve(link.Location))
	r.completed(link.ConnectionID, 1)
	// And the cancelled page once more, which takes nothing away.
	r.send(events.TypeCallbackReceived, map[string]any{"state": link.State, "success": false, "cancel": "true"})
	r.send(events.TypeSyncRequested, syncData(link.ConnectionID))
	r.completed(link.ConnectionID, 2)
	if n := len(r.seen.of(events.TypeConnectionFailed, "")); n != 1 {
		t.Errorf("%d failures, want the first only", n)
	}
}

// TestAnotherCodeOnAConsumedState is what an injected code looks like.
func TestAnotherCodeOnAConsumedState(t *testing.T) {
	r := newRig(t, options{memory: true})
	r.start()
	link, _ := r.establish("victim@example.com")
	exchanged := r.sandbox.Stats().Total("token.exchange")
	before := r.record(link.ConnectionID)

	attacker := r.connect("attacker@example.com")
	injected := r.approve(attacker.Location).Query().Get("code")
	stream, seq := r.publish(events.TypeCallbackReceived, encode(t, map[string]any{"state": link.State, "success": true, "code": injected}))
	letter := r.letter(stream, seq)
	if header(letter, consumer.HeaderReason) != string(fault.Rejected) {
		t.Errorf("%s: %s", header(letter, consumer.HeaderReason), header(letter, consumer.HeaderError))
	}
	if n := r.sandbox.Stats().Total("token.exchange"); n != exchanged {
		t.Error("the injected code was sent to finX")
	}
	if r.record(link.ConnectionID).RefreshToken != before.RefreshToken {
		t.Error("the victim's tokens were touched")
	}
}

// TestARevokedConnectionComesBackByItsLink follows the renewal link.
func TestARevokedConnectionComesBackByItsLink(t *testing.T) {
	r := newRig(t, options{})
	r.start()
	link, _ := r.establish("revoked@example.com")
	for round := 1; round <= 2; round++ {
		if n := r.sandbox.RevokeUser("revoked@example.com"); n != 1 {
			t.Fatalf("%d families revoked", n)
		}
		r.send(events.TypeSyncRequested, syncData(link.ConnectionID))
		asked := await(r, within, "request to authorize again", func() (event, bool) {
			var all []event
			for _, e := range r.seen.events {
				if e.Type == events.TypeReauthorizationRequired {
					all = append(all, e)
				}
			}
			return last(all), len(all) == round
		})
		if asked.Reason != events.ReasonRefreshRejected || asked.ConnectionID != link.ConnectionID || asked.Location == "" || asked.User != "revoked@example.com" {
			t.Fatalf("asked for: reason %s of %s", asked.Reason, asked.ConnectionID)
		}
		back := r.approve(asked.Location)
		if back.Query().Get("state") == link.State {
			t.Error("the renewal link has the state of the first link")
		}
		r.callback(back)
		r.completed(link.ConnectionID, 1+round)
	}
	established := r.seen.of(events.TypeConnectionEstablished, link.ConnectionID)
	if len(established) != 3 {
		t.Errorf("established %d times, want 3", len(established))
	}
	if all := r.seen.of(events.TypeConnectionEstablished, ""); len(all) != len(established) {
		t.Error("a renewal opened another connection")
	}
	if failed := r.seen.of(events.TypeFetchFailed, link.ConnectionID); len(failed) != 2 {
		t.Errorf("%d fetches failed, want one a revocation", len(failed))
	}
	if letters := r.seen.lettersSoFar(); len(letters) != 0 {
		t.Errorf("%d dead letters: %s", len(letters), header(letters[0], consumer.HeaderError))
	}
}

func (r *rig) fault(f finxtest.Fault) {
	r.t.Helper()
	if _, err := r.sandbox.AddFault(f); err != nil {
		r.t.Fatal(err)
	}
}

// left unwraps how a human left the widget.
func (r *rig) left(back *url.URL, err error) *url.URL {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
	return back
}

func last(all []event) event {
	if len(all) == 0 {
		return event{}
	}
	return all[len(all)-1]
}
