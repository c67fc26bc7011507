package streams

import "github.com/finx-connector/finx-connector/events"

// Durable consumers, one a lane.
const (
	DurableConnects  = "finx-connects"
	DurableCallbacks = "finx-callbacks"
	DurableSyncs     = "finx-syncs"
	DurableErasures  = "finx-erasures"
	DurableDue       = "finx-due"
)

// Key-value buckets and the object store.
const (
	BucketConnections = "finx_connections"     // state, no secrets
	BucketLeases      = "finx_leases"          // keys live as long as their TTL
	BucketControl     = "finx_control"         // breakers, live replicas, suspects; keys of the last two live as long as their TTL
	BucketEscrow      = "finx_escrow"          // sealed answers on their way to Vault; markers go by their TTL
	ObjectsOversize   = events.ObjectsOversize // single objects larger than a part
)

// Names are the streams each group of subjects lives in.
type Names struct {
	Connects, Syncs, Erasures, Callbacks, Events, Timers, DLQ string
}

// settings names the setting by which another team's stream is bound.
func settings() Names {
	return Names{
		Connects: "STREAM_REQUESTS", Syncs: "STREAM_SYNCS", Erasures: "STREAM_ERASURES", Callbacks: "STREAM_CALLBACKS",
		Events: "STREAM_EVENTS", Timers: "STREAM_TIMERS", DLQ: "STREAM_DLQ",
	}
}

// or returns n with its empty fields filled from d.
func (n Names) or(d Names) Names {
	pick := func(a, b string) string {
		if a != "" {
			return a
		}
		return b
	}
	return Names{
		Connects: pick(n.Connects, d.Connects), Syncs: pick(n.Syncs, d.Syncs), Erasures: pick(n.Erasures, d.Erasures),
		Callbacks: pick(n.Callbacks, d.Callbacks), Events: pick(n.Events, d.Events), Timers: pick(n.Timers, d.Timers), DLQ: pick(n.DLQ, d.DLQ),
	}
}

// defaults are the streams this program makes for itself.
func defaults() Names {
	return Names{
		Connects: events.StreamRequests, Syncs: events.StreamRequests, Erasures: events.StreamRequests,
		Callbacks: events.StreamCallbacks, Events: events.StreamEvents, Timers: events.StreamTimers, DLQ: events.StreamDLQ,
	}
}
