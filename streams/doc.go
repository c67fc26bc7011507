// Package streams knows the broker's side of the contract: which streams,
// consumers and buckets there must be, how what is there differs from it, and
// how to bring it there without ever taking something away.
//
// Plan is pure. Diff reads. Apply writes, and only ever creates, adds subjects
// and raises limits. What would loosen a guarantee, drop data or cannot be
// changed on a living stream is shown with its remedy and left to a human.
//
// A stream that another team owns (Config.Owned) is bound and checked; nothing
// is created or changed on it, no consumer either.
package streams
