package publisher

import (
	"bytes"
	"compress/flate"
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/finx-connector/finx-connector/internal/telemetry"
)

const (
	// heldBlock is the unit in which transactions wait for their part to be full.
	heldBlock = 16 << 10
	// heldPlain is how much waits as it came, over all writers of a process. What
	// comes beyond it waits compressed, which a dozen fetches at once never make it.
	heldPlain = 6 << 20
	// messageMemory is what the messages take that are built or under way, over all
	// writers of a process: fifteen of the default size. Whoever finds it in use waits
	// for a part that is stored.
	messageMemory = 8 << 20
	scratchUnit   = 32 << 10
)

// partMemory is what all fetch writers of a publisher share: a thousand fetches
// that wait for finX hold what they have read, and nothing to build messages in.
type partMemory struct {
	plain  atomic.Int64 // bytes in blocks
	most   int64        // of them, without compression
	blocks sync.Pool    // of *[heldBlock]byte
	// A compressor is a megabyte: there are as many as can be at work.
	deflates chan *flate.Writer
	inflates sync.Pool // of io.ReadCloser that is a flate.Resetter

	room    *semaphore.Weighted // bytes of scratch
	limit   int64               // of room
	scratch sync.Pool           // of *[]byte
}

func newPartMemory() *partMemory {
	m := &partMemory{most: heldPlain, room: semaphore.NewWeighted(messageMemory), limit: messageMemory}
	m.deflates = make(chan *flate.Writer, runtime.GOMAXPROCS(0))
	for range cap(m.deflates) {
		m.deflates <- nil // made when needed
	}
	return m
}

// held is the transactions of a part that is not full yet. The zero value with a
// memory is empty. It is for one goroutine.
type held struct {
	m      *partMemory
	packed [][]byte           // compressed, the first ones
	blocks []*[heldBlock]byte // the others, all but the last one full
	n      int                // bytes in the last block
	size   int                // bytes in all
}

// add copies b to the end.
func (h *held) add(b []byte) {
	h.size += len(b)
	for len(b) > 0 {
		if len(h.blocks) == 0 || h.n == heldBlock {
			h.blocks, h.n = append(h.blocks, h.m.takeBlock()), 0
		}
		n := copy(h.blocks[len(h.blocks)-1][h.n:], b)
		h.n, b = h.n+n, b[n:]
	}
}

// rest makes h small when there is too much of its kind: nothing will be added for
// as long as a call takes.
func (h *held) rest() {
	if len(h.blocks) > 0 && h.m.plain.Load() > h.m.most {
		h.packed = append(h.packed, h.m.pack(h.plain))
		h.giveBlocks()
	}
}

// plain visits what is not compressed.
func (h *held) plain(visit func([]byte)) {
	for i, b := range h.blocks {
		if i == len(h.blocks)-1 {
			visit(b[:h.n])
			return
		}
		visit(b[:])
	}
}

// appendTo appends everything to dst.
func (h *held) appendTo(dst []byte) ([]byte, error) {
	for _, b := range h.packed {
		var err error
		if dst, err = h.m.unpack(dst, b); err != nil {
			return dst, fmt.Errorf("publisher: unpacking what was held: %w", err)
		}
	}
	h.plain(func(b []byte) { dst = append(dst, b...) })
	return dst, nil
}

// reset empties h and gives its memory back.
func (h *held) reset() {
	h.giveBlocks()
	h.packed, h.size = nil, 0
}

func (h *held) giveBlocks() {
	h.m.plain.Add(-int64(len(h.blocks)) * heldBlock)
	for _, b := range h.blocks {
		h.m.blocks.Put(b)
	}
	h.blocks, h.n = nil, 0
}

func (m *partMemory) takeBlock() *[heldBlock]byte {
	m.plain.Add(heldBlock)
	if b, ok := m.blocks.Get().(*[heldBlock]byte); ok {
		return b
	}
	return new([heldBlock]byte)
}

func (m *partMemory) pack(each func(visit func([]byte))) []byte {
	w := <-m.deflates
	defer func() { m.deflates <- w }()
	var out bytes.Buffer
	if w == nil {
		w, _ = flate.NewWriter(nil, flate.BestSpeed) // fails for levels that are none
	}
	w.Reset(&out)
	each(func(b []byte) { _, _ = w.Write(b) }) // a buffer takes everything
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
	waited := telemetry.Waiting(ctx, waitForMemory)
	err := m.room.Acquire(ctx, w.room)
	if waited(err); err != nil {
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
