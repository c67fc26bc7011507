// Package waiting is a line in which the most urgent is served first and everybody
// may leave at any time.
package waiting

import (
	"container/heap"
	"iter"
)

// Urgent is somebody who can wait. Before reports whether it is served before the
// other one; it must be an order, and not change while they wait.
type Urgent[T any] interface{ Before(other T) bool }

// Line holds those who wait. The zero value is empty. It has no lock: its owner
// holds one.
type Line[T Urgent[T]] struct{ places places[T] }

// Place is where somebody waits.
type Place[T any] struct {
	value T
	index int // in the line, -1 = no longer in it
}

// Waits reports whether the place is still in the line.
func (p *Place[T]) Waits() bool { return p.index >= 0 }

// Len is how many wait.
func (l *Line[T]) Len() int { return len(l.places) }

// Add lets v wait.
func (l *Line[T]) Add(v T) *Place[T] {
	p := &Place[T]{value: v}
	heap.Push(&l.places, p)
	return p
}

// Next takes the most urgent out; ok is false when nobody waits.
func (l *Line[T]) Next() (v T, ok bool) {
	if len(l.places) == 0 {
		return v, false
	}
	p := l.places[0]
	heap.Remove(&l.places, 0)
	return p.value, true
}

// Remove takes a place out; false when it was taken out before.
func (l *Line[T]) Remove(p *Place[T]) bool {
	if !p.Waits() {
		return false
	}
	heap.Remove(&l.places, p.index)
	return true
}

// All visits everybody who waits, in no order.
func (l *Line[T]) All() iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, p := range l.places {
			if !yield(p.value) {
				return
			}
		}
	}
}

// places is a heap with the most urgent on top.
type places[T Urgent[T]] []*Place[T]

// Len is of container/heap.
func (h places[T]) Len() int { return len(h) }

// Less is of container/heap.
func (h places[T]) Less(i, j int) bool { return h[i].value.Before(h[j].value) }

// Swap is of container/heap.
func (h places[T]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is of container/heap.
func (h *places[T]) Push(x any) {
	if p, ok := x.(*Place[T]); ok {
		p.index = len(*h)
		*h = append(*h, p)
	}
}

// Pop is of container/heap.
func (h *places[T]) Pop() any {
	last := len(*h) - 1
	p := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	p.index = -1
	return p
}
