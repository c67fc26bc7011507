package publisher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// What goes in comes out, whatever of it is compressed meanwhile, and the memory
// is given back.
func TestHeldComesOutAsItWentIn(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	for _, most := range []int64{0, 5 * heldBlock, 1 << 40} {
		m := newPartMemory()
		m.most = most
		h, other := held{m: m}, held{m: m}
		for round := range 20 {
			var want []byte
			for range dice.IntN(200) {
				piece := transaction(dice.IntN(1000), 1+dice.IntN(4000))
				if dice.IntN(10) == 0 { // what no compressor makes smaller
					for i := range piece {
						piece[i] = byte(dice.Uint32())
					}
				}
				h.add(piece)
				other.add(piece[:1])
				want = append(want, piece...)
				clear(piece) // the caller uses it again
				if dice.IntN(30) == 0 {
					h.rest()
					other.rest()
					if m.plain.Load() > most {
						t.Errorf("%d bytes are held plain by those who rest, want at most %d", m.plain.Load(), most)
					}
				}
			}
			got, err := h.appendTo([]byte("before "))
			if err != nil || !bytes.Equal(got, append([]byte("before "), want...)) || h.size != len(want) {
				t.Fatalf("at most %d plain, round %d: %d bytes of %d, size %d, %v", most, round, len(got), len(want), h.size, err)
			}
			h.reset()
			h.reset()
			if empty, err := h.appendTo(nil); len(empty) != 0 || h.size != 0 || err != nil {
				t.Errorf("%d bytes after reset, %v", len(empty), err)
			}
		}
		other.reset()
		if m.plain.Load() != 0 {
			t.Errorf("%d bytes are counted that nobody holds", m.plain.Load())
		}
	}
}

// Writers that rest hold a part of what they have read.
func TestManyWritersThatRestHoldLittle(t *testing.T) {
	m := newPartMemory()
	all := make([]held, 500)
	for i := range all {
		all[i].m = m
		for n := range 100 {
			all[i].add(transaction(n, 800))
		}
		all[i].rest()
	}
	read, kept := 0, int(m.plain.Load())
	for i := range all {
		read += all[i].size
		for _, b := range all[i].packed {
			kept += cap(b)
		}
	}
	if m.plain.Load() > heldPlain || kept > read/3 {
		t.Errorf("%d bytes are kept of %d, %d of them plain", kept, read, m.plain.Load())
	}
}

// A writer that is given up holds nothing.
func TestAClosedWriterHoldsNothing(t *testing.T) {
	p := &Publisher{memory: newPartMemory()}
	p.cfg.MaxPayload = func() int64 { return 1 << 20 }
	w := p.NewFetchWriter(meta(), 0)
	w.StartAccount(head("a"))
	for i := range 200 {
		if err := w.Add(t.Context(), transaction(i, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if p.memory.plain.Load() == 0 {
		t.Error("nothing is held before")
	}
	w.Close()
	w.Close()
	if n := p.memory.plain.Load(); n != 0 {
		t.Errorf("%d bytes are held after", n)
	}
}

// Messages wait for room and leave it to the others when their caller gives up.
func TestMessagesWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newPartMemory()
		first, err := m.begin(t.Context(), int(m.limit)) // more than there is: alone
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := m.begin(ctx, 100); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		first.take(10)
		body := first.take(20)
		first.keep() // two thirds
		if len(first.buffers) != 1 || first.buffers[0] != body {
			t.Errorf("%d buffers are kept", len(first.buffers))
		}
		second, err := m.begin(t.Context(), int(m.limit/9))
		if err != nil {
			t.Fatal(err)
		}
		first.end()
		second.end()
		if !m.room.TryAcquire(m.limit) {
			t.Error("room is missing when all messages have ended")
		}
	})
}

// BenchmarkHeld is what a transaction costs on its way into a part and out again.
func BenchmarkHeld(b *testing.B) {
	for name, most := range map[string]int64{"plain": 1 << 40, "compressed": 0} {
		b.Run(name, func(b *testing.B) {
			m := newPartMemory()
			m.most = most
			h := held{m: m}
			var out []byte
			const n = 1000
			b.ReportAllocs()
			for b.Loop() {
				for i := range n {
					h.add(fmt.Appendf(out[:0], `{"transaction_id":"T%d.55","account_id":"A998944684550094849.1","amount":-%d.%02d,"currency":"EUR","iban":"DE9901234567%d","name":"Some Supermarket GmbH","booked_at":"2026-08-30T00:00:00.000Z","purpose":"EREF+%d MREF+M-55 SVWZ+Einkauf & mehr","type":"Direct debit","created_at":"2026-08-30T00:00:00.000Z"}`, i, i%97, i%100, i*7919, i*104729))
				}
				h.rest()
				var err error
				if out, err = h.appendTo(out[:0]); err != nil {
					b.Fatal(err)
				}
				h.reset()
			}
			b.SetBytes(int64(len(out)))
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/tx")
		})
	}
}
