// Package replay publishes again what streams hold: outputs for whoever lost
// them, inputs to be handled once more, and requests for new fetches.
//
// Everything is planned before it is done. A plan reads, counts and changes
// nothing; it fixes the last sequence of each stream, so that a replay to a
// stream's own subjects never comes to its own copies. A run publishes one
// message after the other and keeps a checkpoint in the control bucket, by
// compare-and-set, so that an interrupted or killed replay goes on where it
// stopped and two operators cannot resume the same one at once.
//
// The Nats-Msg-Id of a copy is replay:<replay id>:<stream>:<sequence>. What a
// killed run published after its last checkpoint is found by these ids when it is
// resumed, however long ago that was: nothing is missed and nothing stored twice.
//
// At every end, replay.completed is published, for the record.
package replay
