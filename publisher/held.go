package publisher

import (
	"bytes"
	"compress/flate"
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

const (
	// heldBlock is the unit in which transactions wait for their part to be full.
	heldBlock = 16 << 10
	// heldPlain is how much waits as it came, over all writers of a process. What
	// comes beyond it waits compressed, at some 7 µs a transaction.
	heldPlain = 24 << 20
	// messageMemory is what the messages take that are built or under way, over all
	// writers of a process. Whoever finds it in use waits for a part that is stored.
	messageMemory = 32 << 20
	scratchUnit   = 32 << 10
)

// partMemory is what all fetch writers of a publisher share: a thousand fetches
// that wait for finX hold what they have read, and nothing to build messages in.
type partMemory struct {
	plain    atomic.Int64 // bytes in blocks that are not compressed
	most     int64        // of them
	blocks   sync.Pool    // of *[heldBlock]byte
	deflates sync.Pool    // of *flate.Writer
	inflates sync.Pool    // of io.ReadCloser that is a flate.Resetter

	room    *semaphore.Weighted // bytes of scratch
	limit   int64               // of room
	scratch sync.Pool           // of *[]byte
}

func newPartMemory() *partMemory {
	return &partMemory{most: heldPlain, room: semaphore.NewWeighted(messageMemory), limit: messageMemory}
}

// held is the transactions of a part that is not full yet. The zero value with a
// memory is empty. It is for one goroutine.
type held struct {
	m      *partMemory
	blocks []block
	tail   *[heldBlock]byte // nil when nothing is in it
	n      int              // bytes in tail
	size   int              // bytes in all
}

// block is heldBlock bytes, in one form or the other.
type block struct {
	plain  *[heldBlock]byte
	packed []byte
}

// add copies b to the end.
func (h *held) add(b []byte) {
	h.size += len(b)
	for len(b) > 0 {
		if h.tail == nil {
			h.tail = h.m.takeBlock()
		}
		n := copy(h.tail[h.n:], b)
		h.n, b = h.n+n, b[n:]
		if h.n == heldBlock {
			h.seal()
		}
	}
}

// seal puts the full tail to the others.
func (h *held) seal() {
	full := h.tail
	h.tail, h.n = nil, 0
	if h.m.plain.Add(heldBlock) <= h.m.most {
		h.blocks = append(h.blocks, block{plain: full})
		return
	}
	h.m.plain.Add(-heldBlock)
	h.blocks = append(h.blocks, block{packed: h.m.pack(full[:])})
	h.m.blocks.Put(full)
}

// appendTo appends everything to dst.
func (h *held) appendTo(dst []byte) ([]byte, error) {
	for _, b := range h.blocks {
		if b.plain != nil {
			dst = append(dst, b.plain[:]...)
			continue
		}
		var err error
		if dst, err = h.m.unpack(dst, b.packed); err != nil {
			return dst, fmt.Errorf("publisher: unpacking what was held: %w", err)
		}
	}
	if h.tail != nil {
		dst = append(dst, h.tail[:h.n]...)
	}
	return dst, nil
}

// reset empties h and gives its memory back.
func (h *held) reset() {
	for _, b := range h.blocks {
		if b.plain != nil {
			h.m.plain.Add(-heldBlock)
			h.m.blocks.Put(b.plain)
		}
	}
	clear(h.blocks)
	if h.tail != nil {
		h.m.blocks.Put(h.tail)
	}
	h.blocks, h.tail, h.n, h.size = h.blocks[:0], nil, 0, 0
}

func (m *partMemory) takeBlock() *[heldBlock]byte {
	if b, ok := m.blocks.Get().(*[heldBlock]byte); ok {
		return b
	}
	return new([heldBlock]byte)
}

func (m *partMemory) pack(b []byte) []byte {
	out := bytes.NewBuffer(make([]byte, 0, heldBlock/4))
	w, ok := m.deflates.Get().(*flate.Writer)
	if !ok {
		w, _ = flate.NewWriter(nil, flate.BestSpeed) // fails for levels that are none
	}
	defer m.deflates.Put(w)
	w.Reset(out)
	_, _ = w.Write(b) // a buffer takes everything
	_ = w.Close()
	return bytes.Clone(out.Bytes()) // of its size and not more
}

func (m *partMemory) unpack(dst, packed []byte) ([]byte, error) {
	r, ok := m.inflates.Get().(io.ReadCloser)
	if !ok {
		r = flate.NewReader(nil)
	}
	defer m.inflates.Put(r)
	resetter, ok := r.(flate.Resetter)
	if !ok {
		return dst, io.ErrUnexpectedEOF // package flate promises that it is one
	}
	if err := resetter.Reset(bytes.NewReader(packed), nil); err != nil {
		return dst, err
	}
	out := bytes.NewBuffer(dst)
	_, err := out.ReadFrom(r)
	return out.Bytes(), err
}

// begin waits until something of size bytes may be built, and returns what it is
// built with.
func (m *partMemory) begin(ctx context.Context, size int) (*message, error) {
	w := &message{m: m, room: min(3*int64(size), m.limit)}
	if err := m.room.Acquire(ctx, w.room); err != nil {
		return nil, fmt.Errorf("publisher: waiting for memory: %w", context.Cause(ctx))
	}
	return w, nil
}

// message is what one part is built with: its transactions in one piece, the data
// around them, and the body around that, which alone stays until it is stored.
type message struct {
	m       *partMemory
	room    int64
	buffers []*[]byte
}

// take returns an empty buffer with room for n bytes.
func (w *message) take(n int) *[]byte {
	b, ok := w.m.scratch.Get().(*[]byte)
	if !ok || cap(*b) < n {
		// Rounded up, so that the next part, which is not just as long, fits as well.
		fresh := make([]byte, 0, (n/scratchUnit+1)*scratchUnit)
		b = &fresh
	}
	w.buffers = append(w.buffers, b)
	return b
}

// keep gives everything back but the last buffer taken.
func (w *message) keep() {
	last := len(w.buffers) - 1
	for _, b := range w.buffers[:last] {
		w.m.scratch.Put(b)
	}
	w.buffers = w.buffers[last:]
	w.m.room.Release(w.room - w.room/3)
	w.room /= 3
}

// end gives the rest back.
func (w *message) end() {
	for _, b := range w.buffers {
		w.m.scratch.Put(b)
	}
	w.m.room.Release(w.room)
	w.buffers, w.room = nil, 0
}
