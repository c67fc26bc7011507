package finx

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// PagePool is the memory that all fetches of a process read their pages into. A
// buffer of it takes memory when the answer to a call is there and no sooner: a
// thousand calls that wait for finX take none. When the limit is reached an
// answer waits, unread, until a page is given back. It is safe for concurrent use.
type PagePool struct {
	limit int64
	idle  sync.Pool // of *pageMemory

	mu    sync.Mutex
	used  int64       // by pages that are read or held
	usual int64       // size of the larger ones among the last pages
	queue []*pageTurn // the longest waiting first
}

const (
	// firstPage is what a page is taken for while none has been seen.
	firstPage = 1 << 20
	// keptPage is the largest page whose memory is kept for others: one giant must
	// not be held for the small ones that follow it.
	keptPage = 4 << 20
	// itemBytes is what each transaction of a page takes besides its bytes.
	itemBytes = 24
	// noRoomWait is when an answer that found no memory is asked for again.
	noRoomWait = 15 * time.Second
)

// errNoRoom reports an answer that was not read because the pages before it were
// not given back in time, which says nothing about finX.
var errNoRoom = errors.New("the memory for pages is in use")

// pageMemory is what a page lies in.
type pageMemory struct {
	body    []byte
	items   [][]byte
	decoder *jsontext.Decoder
}

// pageTurn is a page that waits for memory.
type pageTurn struct {
	need  int64
	ready chan struct{}
}

// NewPagePool returns a pool whose pages take together some limit bytes. A single
// page may be larger, and one whose answer does not say how long it is may turn
// out longer than was counted on: then the next ones wait for longer.
func NewPagePool(limit int64) *PagePool {
	return &PagePool{limit: max(limit, 1), usual: min(firstPage, max(limit, 1))}
}

// Buffer returns a buffer without memory.
func (p *PagePool) Buffer() *PageBuffer { return &PageBuffer{pool: p} }

// acquire waits until a page of that length has room and counts it in; a negative
// length is not known. It returns what was counted.
func (p *PagePool) acquire(ctx context.Context, length int64) (int64, error) {
	p.mu.Lock()
	need := length
	if need < 0 {
		need = p.usual
	}
	need = min(need, p.limit)
	if len(p.queue) == 0 && p.fits(need) {
		p.used += need
		p.mu.Unlock()
		return need, nil
	}
	turn := &pageTurn{need: need, ready: make(chan struct{})}
	p.queue = append(p.queue, turn)
	p.mu.Unlock()
	select {
	case <-turn.ready:
		return need, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-turn.ready: // its turn came in the same moment
		return need, nil
	default:
	}
	p.queue = slices.DeleteFunc(p.queue, func(t *pageTurn) bool { return t == turn })
	p.serve() // the next one may be smaller
	return 0, fmt.Errorf("%w: %w", errNoRoom, context.Cause(ctx))
}

// change corrects what was counted for a page that is held, or takes it out.
func (p *PagePool) change(by int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used += by
	p.serve()
}

// seen notes the size of a page that was read.
func (p *PagePool) seen(size int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.usual = max(size, p.usual-p.usual/8)
}

// fits is for holders of mu, as serve is.
func (p *PagePool) fits(need int64) bool { return p.used == 0 || p.used+need <= p.limit }

func (p *PagePool) serve() {
	for len(p.queue) > 0 && p.fits(p.queue[0].need) {
		turn := p.queue[0]
		p.used += turn.need
		close(turn.ready)
		p.queue = slices.Delete(p.queue, 0, 1)
	}
}

func (p *PagePool) take() *pageMemory {
	if m, ok := p.idle.Get().(*pageMemory); ok {
		return m
	}
	return &pageMemory{}
}

func (p *PagePool) keep(m *pageMemory) {
	if cap(m.body) <= keptPage {
		p.idle.Put(m)
	}
}
