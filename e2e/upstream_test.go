package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// publish stores a message and returns where. headers are names and values in turn.
func (r *rig) publish(subject string, body []byte, headers ...string) (stream string, sequence uint64) {
	r.t.Helper()
	msg := &nats.Msg{Subject: r.codec.Subject(subject), Data: body, Header: nats.Header{}}
	for i := 0; i < len(headers); i += 2 {
		msg.Header[headers[i]] = []string{headers[i+1]}
	}
	ack, err := r.js.PublishMsg(r.t.Context(), msg)
	if err != nil {
		r.t.Fatalf("publishing %s: %v", subject, err)
	}
	return ack.Stream, ack.Sequence
}

// send publishes data as bare JSON under an id of its own, and returns the id.
func (r *rig) send(typ string, data any) (id string) {
	r.t.Helper()
	id = events.NewUUID()
	r.publish(typ, encode(r.t, data), events.HeaderMsgID, id)
	return id
}

// structured is a CloudEvent in structured mode.
func (r *rig) structured(typ, id string, data any) []byte {
	r.t.Helper()
	return encode(r.t, map[string]any{
		"specversion": "1.0", "id": id, "source": "/upstream", "type": typ,
		"time": time.Now().UTC().Format(time.RFC3339Nano), "datacontenttype": "application/json", "data": data,
	})
}

func encode(t interface {
	Helper()
	Fatal(args ...any)
}, v any,
) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// connect asks for a link for a user and waits for it.
func (r *rig) connect(user string) event {
	r.t.Helper()
	id := r.send(events.TypeConnectRequested, map[string]any{"user_id": user, "redirect_uri": redirectURI})
	return r.link(id)
}

// link waits for the link that a connect event brings.
func (r *rig) link(cause string) event {
	r.t.Helper()
	return r.event("widget link", func(e event) bool {
		return e.Type == events.TypeWidgetLinkCreated && e.CausationID == cause
	})
}

// approve plays the human behind a link and returns the URL of the callback.
func (r *rig) approve(location string) *url.URL {
	r.t.Helper()
	back, err := r.sandbox.Approve(location)
	if err != nil {
		r.t.Fatal(err)
	}
	return back
}

// callback passes on what the browser came back with, and returns the event's id.
func (r *rig) callback(back *url.URL) (id string) {
	r.t.Helper()
	return r.send(events.TypeCallbackReceived, map[string]any{"callback_url": back.String()})
}

// establish connects a user and waits for the first fetch.
func (r *rig) establish(user string) (link, completed event) {
	r.t.Helper()
	link = r.connect(user)
	r.callback(r.approve(link.Location))
	return link, r.completed(link.ConnectionID, 1)
}

// completed waits for the n-th completed fetch of a connection.
func (r *rig) completed(connectionID string, n int) event {
	r.t.Helper()
	return await(r, within, fmt.Sprintf("completed fetch %d of %s", n, connectionID), func() (event, bool) {
		left := n
		for _, e := range r.seen.events {
			if e.Type == events.TypeFetchCompleted && e.ConnectionID == connectionID {
				if left--; left == 0 {
					return e, true
				}
			}
		}
		return event{}, false
	})
}

// parts returns the parts of a completed fetch, in the order it names them. A
// part that is missing fails the test.
func (r *rig) parts(completed event) []event {
	r.t.Helper()
	byID := map[string]event{}
	for _, e := range r.seen.of(events.TypeTransactionsFetched, completed.ConnectionID) {
		if _, twice := byID[e.ID]; !twice {
			byID[e.ID] = e
		}
	}
	parts := make([]event, 0, len(completed.EventIDs))
	for _, id := range completed.EventIDs {
		part, ok := byID[id]
		if !ok {
			r.t.Errorf("%s names part %s, which is not there", events.TypeFetchCompleted, id)
			continue
		}
		parts = append(parts, part)
	}
	return parts
}

// kept reads a connection's secret out of the real Vault, past the connector.
func (r *rig) kept(connectionID string) map[string]any {
	r.t.Helper()
	answer := r.vault.Call(r.t, "GET", r.mount+"/data/finx/connections/"+connectionID, nil)
	outer, ok := answer["data"].(map[string]any)
	if !ok {
		r.t.Fatalf("no secret of %s", connectionID)
	}
	inner, ok := outer["data"].(map[string]any)
	if !ok {
		r.t.Fatalf("the secret of %s is deleted", connectionID)
	}
	return inner
}

// record is the secret in the in-memory keeper.
func (r *rig) record(connectionID string) vaultstore.Record {
	r.t.Helper()
	rec, _, err := r.memory.Get(r.t.Context(), connectionID)
	if err != nil {
		r.t.Fatal(err)
	}
	return rec
}

func letterID(stream string, sequence uint64) string {
	return fmt.Sprintf("dlq:%s:%d", stream, sequence)
}
