// Package crashpoint names the moments at which the tests kill or stop the
// program. In the program as it is shipped Reached does nothing and costs
// nothing; only a build with the tag crashpoints acts (see armed.go). The names
// are those of docs/custody.md.
package crashpoint

// The moments of a call that spends a code or a refresh token. Its kind,
// "exchange" or "refresh", stands before the name.
const (
	Locked    = ".locked"    // the lock is held and the record read; no mark yet
	Marked    = ".marked"    // the mark is written; the call has not begun
	Received  = ".received"  // the answer is in memory and nowhere else
	Kept      = ".kept"      // a sealed copy is in the spool
	Escrowed  = ".escrowed"  // a sealed copy is in the escrow bucket, because Vault does not take it
	Stored    = ".stored"    // the tokens are in Vault
	Ambiguous = ".ambiguous" // the call ended without an answer; the record was read again
	Refused   = ".refused"   // finX refused the value; the outcome is not kept yet
	Settled   = ".settled"   // the outcome is kept with the mark; nobody has been told
)

// The moments around it.
const (
	CallbackConsumed  = "callback.consumed"     // the state is consumed by this code
	CallbackAnnounced = "callback.announced"    // connection.established is published
	CallbackMoved     = "callback.moved"        // the connection's record says established
	CallbackAsked     = "callback.asked"        // the first fetch is asked for; the callback is not acked
	CallbackFailed    = "callback.failed"       // connection.failed is published; the record does not say so yet
	HomeStored        = "home.stored"           // a copy from escrow is in Vault; it is still in escrow too
	ReauthLinked      = "reauthorize.linked"    // the renewal link is made
	ReauthAnnounced   = "reauthorize.announced" // connection.reauthorization.required is published
)
