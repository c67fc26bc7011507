// Package publisher puts events on the broker and returns when they are stored.
//
// A publish carries the event's id as Nats-Msg-Id and the name of the stream it
// must land in, and is repeated under the same id for longer than a leader
// election takes. Inside the broker's duplicate window that makes it exactly
// once; beyond it, downstream drops by the CloudEvents id, which is the same.
//
// A transaction too large for an event goes to the object store, once for each
// content, and the event refers to it.
package publisher
