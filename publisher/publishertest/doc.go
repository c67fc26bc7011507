// Package publishertest has timers in memory for tests under a fake clock, and the
// contract that they and those of the broker keep (RunTimers).
package publishertest
