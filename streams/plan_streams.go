package streams

import (
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
)

// eventStreams returns our streams that hold at least one subject of ours.
func (c Config) eventStreams(subjects map[string][]string) []stream {
	all := []jetstream.StreamConfig{
		c.stream(events.StreamRequests, "finx-connector: connect, sync and erasure requests", subjects[events.StreamRequests], c.Requests),
		c.stream(events.StreamCallbacks, "finx-connector: callbacks; their codes die, so they queue behind nothing", subjects[events.StreamCallbacks], c.Callbacks),
		c.stream(events.StreamEvents, "finx-connector: everything it publishes", subjects[events.StreamEvents], c.Events),
		c.timers(subjects[events.StreamTimers]),
		c.stream(events.StreamDLQ, "finx-connector: dead letters", subjects[events.StreamDLQ], c.DLQ),
	}
	var out []stream
	for _, cfg := range all {
		if len(cfg.Subjects) > 0 {
			out = append(out, stream{kind: KindStream, name: cfg.Name, want: cfg})
		}
	}
	return out
}

// timers holds schedules and what they turn into when due. The broker refuses
// schedules on a DiscardNew stream, so this one has no limits at all that could
// make it discard the old; what came due carries a TTL of its own instead.
func (c Config) timers(subjects []string) jetstream.StreamConfig {
	cfg := c.stream(events.StreamTimers, "finx-connector: timers and parked retries", subjects, Limits{})
	cfg.Discard = jetstream.DiscardOld
	cfg.AllowMsgSchedules = true
	cfg.AllowMsgTTL = true
	cfg.AllowRollup = true // the broker turns it on with schedules; said here so that no drift shows
	return cfg
}

// buckets are written as the streams they are, so that one comparison serves
// all. They agree with what the client makes of a KeyValueConfig or an
// ObjectStoreConfig; a test creates them by both ways and compares.
func (c Config) buckets() []stream {
	var out []stream
	for _, cfg := range []jetstream.StreamConfig{
		keyValue(BucketConnections, "finx-connector: state of the connections, no secrets"),
		withKeyTTL(keyValue(BucketLeases, "finx-connector: who works on what, one key a lease")),
		// Whoever dies leaves by its key's TTL: replicas are counted here.
		withKeyTTL(keyValue(BucketControl, "finx-connector: what its replicas share: breakers, and who is live")),
		// The marker of a deleted answer goes by its TTL, or the bucket would keep one for each there ever was.
		withKeyTTL(keyValue(BucketEscrow, "finx-connector: sealed answers Vault could not take yet")),
	} {
		out = append(out, stream{kind: KindBucket, name: cfg.Name[len(keyValuePrefix):], want: cfg})
	}
	return append(out, stream{kind: KindObjects, name: ObjectsOversize, want: jetstream.StreamConfig{
		Name: objectsPrefix + ObjectsOversize, Description: "finx-connector: single objects larger than a message",
		Subjects: []string{"$O." + ObjectsOversize + ".C.>", "$O." + ObjectsOversize + ".M.>"},
		Storage:  jetstream.FileStorage, Discard: jetstream.DiscardNew,
		MaxBytes: -1, MaxMsgs: -1, MaxMsgSize: -1, MaxMsgsPerSubject: -1, MaxConsumers: -1,
		AllowRollup: true, AllowDirect: true, // without compression, see stream
	}})
}

const (
	keyValuePrefix = "KV_"
	objectsPrefix  = "OBJ_"
)

// withKeyTTL lets the keys of a bucket, and the markers of deleted ones, have a
// TTL each.
func withKeyTTL(cfg jetstream.StreamConfig) jetstream.StreamConfig {
	cfg.AllowMsgTTL = true
	cfg.SubjectDeleteMarkerTTL = markerTTL
	return cfg
}

func keyValue(bucket, description string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: keyValuePrefix + bucket, Description: description, Subjects: []string{"$KV." + bucket + ".>"},
		Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew,
		// A history of one: an erased or overwritten value is gone at once.
		MaxMsgsPerSubject: 1, MaxBytes: -1, MaxMsgs: -1, MaxMsgSize: -1, MaxConsumers: -1,
		// As every key-value bucket: keys go by purge (a roll-up), not by delete.
		AllowRollup: true, DenyDelete: true, AllowDirect: true,
	}
}
