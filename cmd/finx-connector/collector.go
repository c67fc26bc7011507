package main

import (
	"runtime/debug"

	"github.com/finx-connector/finx-connector/settings"
)

const (
	// manyHandlers is some three times what a process has by default.
	manyHandlers = 256
	// manyPercent of what is alive may be garbage in a process of many handlers.
	manyPercent = 50
)

// paceCollector has garbage collected twice as often as usual where a process may
// handle many events at once. Most of what such a process holds lives as long as a
// call to finX: stacks, connections, what has been read. As much again for garbage
// would be the larger part of its memory. docs/adr/0020-memory.md has the figures.
// What the operator says in GOGC or GOMEMLIMIT counts instead.
func (p *program) paceCollector(c settings.Concurrency) {
	handlers := c.Connects + c.Callbacks + c.Syncs + c.Erasures + c.Due
	if handlers < manyHandlers || p.getenv("GOGC") != "" || p.getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetGCPercent(manyPercent)
}
