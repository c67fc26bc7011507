// Package archtest holds tests over the source tree itself: which package may
// import which, which third party lives where, what is linked into the shipped
// binary, how long a file may be. The rules are in map_test.go; the map that
// they allow is drawn into docs/architecture.md.
//
// Run `go test ./internal/archtest -update` to draw it again after an arrow
// that the rules allow was added or has gone.
package archtest
