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

// stepf prints what this program does.
func (p *printer) stepf(format string, args ...any) { p.linef("   ", format, args...) }

// inf and outf print what travels over the bus: to the connector, and from it.
func (p *printer) inf(format string, args ...any)  { p.linef("-> ", format, args...) }
func (p *printer) outf(format string, args ...any) { p.linef("<- ", format, args...) }

// plainf prints a line without a time, for tables and headings.
func (p *printer) plainf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(p.w, format+"\n", args...)
}

func (p *printer) linef(arrow, format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(p.w, "%7.2fs  %s%s\n", time.Since(p.start).Seconds(), arrow, fmt.Sprintf(format, args...))
}
