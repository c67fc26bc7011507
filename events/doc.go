// Package events is the wire contract: the subjects, the envelope, the payload
// of every event, its JSON Schema, and the code that reads and writes them.
//
// One event type has one stem: transactions_fetched.go holds the payload and
// its constructor, testdata/transactions_fetched.json a golden,
// schemas/v1/transactions.fetched.json the schema that is published as its
// dataschema.
//
// Reading is strict about what is there and indifferent to what is not known:
// duplicate member names, invalid UTF-8, a wrong JSON type or a value beyond
// its limit refuse the event with an error that names the field, unknown
// members are skipped. Member names are matched exactly. No error text ever
// quotes a value, because a value may be a code.
//
// Writing never renders a number again: finX's own objects are spliced into
// the outgoing event byte for byte.
//
// Everything here is a pure function of its arguments (except NewUUID and the
// time stamp of a new Output) and safe for concurrent use.
package events
