// Package guard decides whether, when and how many at once calls may go to a
// server this program depends on.
//
// A server that is away, or that asks everybody to stay away, is not asked at
// all: nothing is tried in vain and no attempt is burnt, what waits does so in
// its stream. All replicas share one state a server, so that one that comes back
// is met by one probe and not by all of them, and then by slowly more. While it
// works, calls are held to a rate of all replicas together and to as many at
// once as it has shown to stand, the most urgent first.
//
// What is shared is a small value with pure transitions (state.go); breaker is
// this process's copy of it, share.go brings the two together. A store that is
// away never holds anything up: then each process decides by what it sees.
package guard
