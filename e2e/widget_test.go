package e2e_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/events"
)

// TestBareRequestGetsALink publishes what `nats pub` would: two members, no
// header, no envelope, no answer awaited.
func TestBareRequestGetsALink(t *testing.T) {
	r := newRig(t, options{memory: true})
	r.start()
	body := []byte(`{"user_id":"bare@example.com","redirect_uri":"https://app.example/callback"}`)
	states := map[string]bool{}
	for n := 1; n <= 3; n++ {
		if err := r.nc.Publish(events.TypeConnectRequested, body); err != nil {
			t.Fatal(err)
		}
		links := await(r, within, "links", func() ([]event, bool) {
			var out []event
			for _, e := range r.seen.events {
				if e.Type == events.TypeWidgetLinkCreated {
					out = append(out, e)
				}
			}
			return out, len(out) == n
		})
		link := links[n-1]
		if link.User != "bare@example.com" || link.Location == "" || link.FlowID == "" || !events.IsUUID(link.ConnectionID) {
			t.Errorf("link %d is not whole: connection %q, flow %q", n, link.ConnectionID, link.FlowID)
		}
		if len(link.State) < 20 || states[link.State] {
			t.Errorf("state %q is short or was there before", link.State)
		}
		states[link.State] = true
	}
	for _, call := range r.bank.answered("POST", "/ongoing/access") {
		var sent map[string]any
		if err := json.Unmarshal(call.Body, &sent); err != nil {
			t.Fatal(err)
		}
		state, _ := sent["state"].(string)
		delete(sent, "state")
		want := map[string]any{"user_id": "bare@example.com", "redirect_uri": redirectURI}
		if !states[state] || !reflect.DeepEqual(sent, want) {
			t.Errorf("finX was sent %v", sent)
		}
	}
}

// TestUpstreamsStateComesBack takes states of every length and look to the bank
// and back.
func TestUpstreamsStateComesBack(t *testing.T) {
	odd := "a b+c%20&d=e?f#g/h\\i\"j'k<l>m;n,o|p^q~r`s{t}u[v]ä漢😀 "
	r := newRig(t, options{memory: true})
	r.start()
	for name, state := range map[string]string{
		"one character":                "~",
		"one wide character":           "😀",
		"a hundred odd ones":           fill(odd, 100),
		"1024 plain ones":              fill("abcdefghijklmnopqrstuvwxyz0123456789", 1024),
		"1024 odd ones":                fill(odd, 1024),
		"1024 of four bytes":           strings.Repeat("😀", 1024),
		"looks like JSON":              `{"state":"x","code":null}`,
		"looks like another parameter": "s&success=false&code=x",
	} {
		t.Run(name, func(t *testing.T) {
			r := r.at(t)
			id := r.send(events.TypeConnectRequested, map[string]any{"user_id": "s", "redirect_uri": redirectURI, "state": state})
			link := r.link(id)
			if link.State != state {
				t.Errorf("widget.link.created has the state %q", link.State)
			}
			r.callback(r.approve(link.Location))
			established := r.event("established", func(e event) bool {
				return e.Type == events.TypeConnectionEstablished && e.ConnectionID == link.ConnectionID
			})
			if established.State != state {
				t.Errorf("connection.established has the state %q", established.State)
			}
		})
	}
}

// TestOptionalFieldsReachFinXAsGiven looks at the body that finX gets.
func TestOptionalFieldsReachFinXAsGiven(t *testing.T) {
	r := newRig(t, options{memory: true})
	r.start()
	for name, data := range map[string]map[string]any{
		"all of them": {
			"state": "st-1", "tracking_id": "track/1 ä", "language": "de", "provider_id": "7ac2a5b8-cc8f-4cb1-a1ef-1d5a1b1a7f60",
			"accounts": []any{map[string]any{"id": "DE02120300000000202051"}}, "account_types": []any{"Giro account", "Savings account"},
			"allow_multi_selection": true, "sync_period": float64(365), "save_secrets": true,
		},
		"the other truth values": {"state": "st-2", "allow_multi_selection": false, "save_secrets": false},
		"only one":               {"state": "st-3", "tracking_id": "t"},
	} {
		t.Run(name, func(t *testing.T) {
			r := r.at(t)
			data["user_id"], data["redirect_uri"] = "optional@example.com", redirectURI+"?keep=1&me=%C3%A4"
			want := maps.Clone(data)
			data["of_no_meaning"] = "to anybody"
			link := r.link(r.send(events.TypeConnectRequested, data))
			if tracking, _ := want["tracking_id"].(string); link.TrackingID != tracking {
				t.Errorf("tracking_id %q, want %q", link.TrackingID, tracking)
			}
			calls := r.bank.answered("POST", "/ongoing/access")
			var sent map[string]any
			if err := json.Unmarshal(calls[len(calls)-1].Body, &sent); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(sent, want) {
				t.Errorf("finX was sent\n%v, want\n%v", sent, want)
			}
		})
	}
}

// fill repeats text up to n characters.
func fill(text string, n int) string {
	runes := []rune(strings.Repeat(text, n/len([]rune(text))+1))
	return string(runes[:n])
}
