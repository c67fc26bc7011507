package streams

import (
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// mergeStream returns is with everything of want that can be added safely, and
// the differences found on the way, those that were not merged included.
func mergeStream(s stream, is jetstream.StreamConfig, r replicas) (jetstream.StreamConfig, []Change) {
	m := &merge{kind: s.kind, name: s.name}
	want := s.want
	if add := missing(is.Subjects, want.Subjects); len(add) > 0 {
		all := union(is.Subjects, want.Subjects)
		m.update("subjects", list(is.Subjects), list(all))
		is.Subjects = all
	}
	if r.certain && is.Replicas < r.n {
		m.update("num_replicas", fmt.Sprint(is.Replicas), fmt.Sprint(r.n))
		is.Replicas = r.n
	}
	retain(m, "max_age", &is.MaxAge, want.MaxAge)
	retain(m, "max_bytes", &is.MaxBytes, want.MaxBytes)
	unbound(m, "max_msg_size", &is.MaxMsgSize, want.MaxMsgSize)
	unbound(m, "max_msgs_per_subject", &is.MaxMsgsPerSubject, want.MaxMsgsPerSubject)
	window := want.Duplicates
	if is.MaxAge > 0 {
		window = min(window, is.MaxAge) // the broker refuses a longer one
	}
	m.raiseWindow("duplicate_window", &is.Duplicates, window)
	m.raiseWindow("subject_delete_marker_ttl", &is.SubjectDeleteMarkerTTL, want.SubjectDeleteMarkerTTL)
	m.enable("allow_direct", &is.AllowDirect, want.AllowDirect)
	m.enable("allow_rollup_hdrs", &is.AllowRollup, want.AllowRollup)
	m.enable("allow_msg_ttl", &is.AllowMsgTTL, want.AllowMsgTTL)
	if want.Discard == is.Discard || !want.AllowMsgSchedules {
		m.enable("allow_msg_schedules", &is.AllowMsgSchedules, want.AllowMsgSchedules)
	}
	if is.Compression != want.Compression && is.Replicas > 1 {
		m.update("compression", is.Compression.String(), want.Compression.String()) // see Config.stream
		is.Compression = want.Compression
	}
	m.streamDrift(is, want)
	m.losses(s.kind, is, want)
	return is, m.changes
}

// losses reports limits that drop what nobody may lose without a word to
// anybody: timers, on the one stream that has to discard the oldest, and the
// records in the buckets.
func (m *merge) losses(kind Kind, is, want jetstream.StreamConfig) {
	if kind == KindStream && !want.AllowMsgSchedules {
		return // a limit there refuses publishers, or is the operator's retention
	}
	const remedy = "what is dropped by it is never missed until it is needed: take the limit away"
	if is.MaxMsgs > 0 {
		m.manual("max_msgs", fmt.Sprint(is.MaxMsgs), "unlimited", remedy)
	}
	if is.MaxAge > 0 && want.MaxAge == 0 {
		m.manual("max_age", is.MaxAge.String(), "unlimited", remedy)
	}
	if is.MaxBytes > 0 && is.Discard == jetstream.DiscardOld {
		m.manual("max_bytes", fmt.Sprint(is.MaxBytes), "unlimited", remedy)
	}
}

// streamDrift reports what is wrong and is not ours to change.
func (m *merge) streamDrift(is, want jetstream.StreamConfig) {
	if is.Storage != want.Storage {
		m.manual("storage", is.Storage.String(), want.Storage.String(), remedyImmutable)
	}
	if is.Retention != want.Retention {
		m.manual("retention", is.Retention.String(), want.Retention.String(), remedyImmutable)
	}
	if is.Discard != want.Discard {
		remedy := "a full stream would then refuse publishers instead of dropping the oldest: raise its limits first, then set discard to new"
		if want.AllowMsgSchedules {
			remedy = "the broker keeps no schedules on a stream that discards new: set discard to old, then apply again"
		}
		m.manual("discard", is.Discard.String(), want.Discard.String(), remedy)
	}
	if is.PersistMode != want.PersistMode {
		m.manual("persist_mode", is.PersistMode.String(), want.PersistMode.String(), remedyImmutable)
	}
	if is.Mirror != nil {
		m.manual("mirror", is.Mirror.Name, "none", "promote the mirror by an update without it")
	}
	if is.SubjectTransform != nil {
		m.manual("subject_transform", is.SubjectTransform.Destination, "none", "stored subjects must be those published: take it away by hand")
	}
	m.mustBeOff("deny_delete", is.DenyDelete, want.DenyDelete, "erasure cannot remove a person's messages; the flag cannot be taken back: make the stream anew")
	m.mustBeOff("deny_purge", is.DenyPurge, want.DenyPurge, "erasure cannot purge a person's messages; the flag cannot be taken back: make the stream anew")
	m.mustBeOff("no_ack", is.NoAck, want.NoAck, "publishing waits for the stream's ack: set it off")
	m.mustBeOff("sealed", is.Sealed, want.Sealed, remedyImmutable)
}
