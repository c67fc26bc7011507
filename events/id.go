package events

import (
	"encoding/binary"

	"github.com/google/uuid"
)

// namespace is the UUIDv5 of "https://github.com/finx-connector/finx-connector"
// in the URL namespace of RFC 9562. It is spelled out because every id ever
// published depends on it: it must never change.
func namespace() uuid.UUID {
	return uuid.UUID{0xd2, 0x53, 0x7d, 0x47, 0x54, 0x93, 0x56, 0xea, 0xa5, 0x86, 0x9d, 0x2d, 0xed, 0xa4, 0x8b, 0x5f}
}

// NewUUID returns a random UUID (version 4) in canonical form.
func NewUUID() string { return uuid.NewString() }

// UUIDv5 returns the UUID (version 5) of parts. Each part goes in with its
// length before it, so ("ab", "c") and ("a", "bc") are different names.
func UUIDv5(parts ...string) string {
	name := make([]byte, 0, 256)
	for _, p := range parts {
		name = binary.AppendUvarint(name, uint64(len(p)))
		name = append(name, p...)
	}
	return uuid.NewSHA1(namespace(), name).String()
}

// IsUUID reports whether s is a UUID in canonical form: 36 characters, lower case.
func IsUUID(s string) bool {
	u, err := uuid.Parse(s)
	return err == nil && u.String() == s
}

// ConnectionID returns the id of the connection that a connect event opens.
// A redelivered or replayed event is the same connection, another event is
// another one, also for the same user.
func ConnectionID(e Envelope) string { return UUIDv5("connection", e.Source, e.ID) }

// FetchID returns the id of the fetch that a sync request asks for.
func FetchID(e Envelope) string { return UUIDv5("fetch", e.Source, e.ID) }
