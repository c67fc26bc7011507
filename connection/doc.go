// Package connection is the state machine of one connection: one pass of one
// user through the finX widget and all that follows from it.
//
// It is pure. It reads no clock, opens no socket and keeps nothing: a caller
// reads a Record, asks it for the next Record, and stores that one with
// compare-and-set (package connectionkv). Every method leaves its receiver as
// it was, so a lost compare-and-set can be repeated from a fresh read.
//
// A Record holds no secret: tokens and codes live in Vault only, under the
// same connection id.
package connection
