// Package dlq works with the dead letters: reads them, puts the event of one
// back on its way, or drops it.
//
// A dead letter is a copy of an input on dlq.<original subject>, with headers
// that say why it was given up and where the original is. Of some originals it
// is no whole copy: a callback's has no code, and a very large one has no body.
// Those are read again from the stream they came from.
//
// A redriven event is stored under a new Nats-Msg-Id, because the stream still
// remembers the old one and would drop it, and keeps its business id, so that
// handling it finds what was done already. Its dead letter is deleted only when
// the stream has acknowledged the event.
//
// What operators redrive and discard leaves a note in the bucket finx_control: who,
// when, which and why.
package dlq
