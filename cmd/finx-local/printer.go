package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// printer writes one line a step, with the seconds since the start before it.
// It is safe for concurrent use.
type printer struct {
	mu    sync.Mutex
	w     io.Writer
	start time.Time
}

func newPrinter(w io.Writer) *printer { return &printer{w: w, start: time.Now()} }

// step prints what this program does.
func (p *printer) step(format string, args ...any) { p.line("   ", format, args...) }

// event prints what travels over the bus: in for events to the connector, out for its own.
func (p *printer) in(format string, args ...any)  { p.line("-> ", format, args...) }
func (p *printer) out(format string, args ...any) { p.line("<- ", format, args...) }

// plain prints a line without a time, for tables and headings.
func (p *printer) plain(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(p.w, format+"\n", args...)
}

func (p *printer) line(arrow, format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(p.w, "%7.2fs  %s%s\n", time.Since(p.start).Seconds(), arrow, fmt.Sprintf(format, args...))
}
