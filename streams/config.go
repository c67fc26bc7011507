package streams

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
)

// Defaults of Config's zero fields.
const (
	// DefaultAckWait is also how long a crashed process's work stands still.
	DefaultAckWait = 30 * time.Second
	// DefaultMaxAckPending counts over all replicas and includes deliveries put
	// off for later; reached, it stops the lane, so it is generous.
	DefaultMaxAckPending = 5000
	// DefaultDuplicates must outlast every publish retry and the redelivery
	// after it. The broker's own 2 minutes do not. One remembered id costs it
	// some 170 bytes.
	DefaultDuplicates = 30 * time.Minute
	// MinRetention is what another team's input stream must keep: less, and an
	// outage over a night loses requests that nobody has read yet.
	MinRetention = 24 * time.Hour
	// markerTTL is how long the broker keeps the marker of a key whose TTL ended.
	// Without it a bucket knows no TTL for single keys.
	markerTTL = time.Minute
)

// Limits bound a stream of ours. Zero means no bound: nothing is dropped by age,
// and the broker's own disk limit refuses publishers.
type Limits struct {
	MaxAge   time.Duration
	MaxBytes int64
}

// Config are the settings the topology depends on. The zero value is the
// contract's default.
type Config struct {
	Codec         events.Codec
	PerConnection bool // SUBJECT_PER_CONNECTION: outputs carry the connection id as last token

	// Replicas of everything that is created; 0 means 3 on a cluster of three
	// or more servers, else 1.
	Replicas int

	AckWait       time.Duration // DefaultAckWait when zero
	MaxAckPending int           // DefaultMaxAckPending when zero
	Duplicates    time.Duration // DefaultDuplicates when zero

	Requests, Callbacks, Events, DLQ Limits

	// Owned names the streams that other teams own, by the subjects they hold.
	// An empty field means the stream is ours.
	Owned Names
}

func (c Config) withDefaults() Config {
	if c.AckWait == 0 {
		c.AckWait = DefaultAckWait
	}
	if c.MaxAckPending == 0 {
		c.MaxAckPending = DefaultMaxAckPending
	}
	if c.Duplicates == 0 {
		c.Duplicates = DefaultDuplicates
	}
	return c
}

// stream returns what all our streams of events have in common.
func (c Config) stream(name, description string, subjects []string, l Limits) jetstream.StreamConfig {
	dup := c.Duplicates
	if l.MaxAge > 0 {
		dup = min(dup, l.MaxAge) // the broker refuses a longer window
	}
	return jetstream.StreamConfig{
		Name: name, Description: description, Subjects: subjects,
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
		// The default, DiscardOld, throws away events nobody has read yet and
		// tells nobody; with DiscardNew the publisher hears of it and waits.
		Discard: jetstream.DiscardNew, MaxAge: l.MaxAge, MaxBytes: unlimited(l.MaxBytes),
		MaxMsgs: -1, MaxMsgSize: -1, MaxMsgsPerSubject: -1, MaxConsumers: -1,
		Duplicates: dup, AllowDirect: true,
		// Compression stays off. A broker with sync_interval always (2.15.2) that was
		// killed cuts a replica back to the last snapshot of its Raft log. Where that
		// is in a block that is compressed already it fails ("smb.truncate: … s2:
		// corrupt input"), and the replica stays away for good: four times of four in
		// the test that kills brokers under load.
		// DenyDelete and DenyPurge would protect against a slip of the hand, but
		// these streams hold personal data, and erasure removes single messages
		// and subjects. Neither flag can be taken back once set.
	}
}

func unlimited(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}
