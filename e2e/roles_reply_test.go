package e2e_test

import (
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// TestUpstreamHasNoAnswersPublishedElsewhere is about who may publish only inputs but
// names the subject of the answer: without an account of its own for upstream, the
// broker's acknowledgements go where that says.
func TestUpstreamHasNoAnswersPublishedElsewhere(t *testing.T) {
	const prefix = "acme.eu"
	r := newRoled(t, prefix, options{memory: true, env: map[string]string{}}, nil)
	r.put(connectionkv.BucketConnections, "connection.x", "a record")
	before := r.lastSequences()
	up := r.login(natstest.RoleUpstream, r.shipped.Roles[natstest.RoleUpstream])
	for _, reply := range []string{
		"$KV.finx_connections.connection.x", "$KV.finx_escrow.x", "$KV.finx_leases.fetch.x", "$KV.finx_control.breaker.finx",
		prefix + ".transactions.fetched", prefix + ".connection.erased", prefix + ".dlq.callback.received", prefix + ".finx.timer.x", "$O.finx_oversize.M.x",
	} {
		if err := up.PublishRequest(prefix+"."+events.TypeConnectRequested, reply, []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
	}
	// What came before is stored when this is answered.
	if ack := publishedBy(t, up, prefix+"."+events.TypeConnectRequested+".eu.42", nil); ack.Stream != events.StreamRequests || ack.Seq != 10 {
		t.Fatalf("ten requests were answered with %+v", ack)
	}
	// Where an answer goes at all, it went before the one that was waited for.
	before[events.StreamRequests] += 10
	if after := r.lastSequences(); !maps.Equal(before, after) {
		t.Errorf("the streams end at %v, want %v", after, before)
	}
}

// TestNoHeaderDoesMoreThanPublish has upstream ask the streams of inputs, by header,
// for what it has no right to.
func TestNoHeaderDoesMoreThanPublish(t *testing.T) {
	r := newRoled(t, "", options{memory: true, env: map[string]string{}}, nil)
	up := r.login(natstest.RoleUpstream, r.shipped.Roles[natstest.RoleUpstream])
	for _, input := range []string{events.TypeCallbackReceived, events.TypeConnectRequested} {
		first := publishedBy(t, up, input, nil)
		for _, h := range []nats.Header{
			{"Nats-Rollup": {"all"}},
			{"Nats-Rollup": {"sub"}},
			{"Nats-TTL": {"1s"}},
			{"Nats-Schedule": {"@at 2026-01-01T00:00:00Z"}, "Nats-Schedule-Target": {events.TypeErasureRequested}},
			{"Nats-Batch-Id": {"x"}, "Nats-Batch-Sequence": {"1"}, "Nats-Batch-Commit": {"1"}},
			{"Nats-Incr": {"1"}},
		} {
			if ack := publishedBy(t, up, input, h); ack.Error.Code == 0 {
				t.Errorf("%s with %v was stored: %+v", input, h, ack)
			}
		}
		if ack := publishedBy(t, up, input, nil); ack.Seq != first.Seq+1 {
			t.Errorf("%s: the message after %d is %d", input, first.Seq, ack.Seq)
		}
	}
}

// acknowledgement is what a stream answers.
type acknowledgement struct {
	Stream string
	Seq    uint64
	Error  struct{ Code int }
}

func publishedBy(t *testing.T, nc *nats.Conn, subject string, h nats.Header) (ack acknowledgement) {
	t.Helper()
	m, err := nc.RequestMsg(&nats.Msg{Subject: subject, Header: h, Data: []byte(`{}`)}, 5*time.Second)
	if err == nil {
		err = json.Unmarshal(m.Data, &ack)
	}
	if err != nil {
		t.Fatalf("publishing to %s: %v", subject, err)
	}
	return ack
}

// lastSequences says where each stream ends.
func (r *rig) lastSequences() map[string]uint64 {
	r.t.Helper()
	ends := map[string]uint64{}
	for _, info := range r.ours() {
		ends[info.Config.Name] = info.State.LastSeq
	}
	return ends
}
