//go:build !unix

package main

// lockState does nothing where there is no flock.
func lockState(string) (unlock func(), err error) { return func() {}, nil }
