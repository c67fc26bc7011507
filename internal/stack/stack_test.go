package stack_test

import (
	"testing"
	"unsafe"

	"github.com/finx-connector/finx-connector/internal/stack"
)

// TestWhatComesAfterMovesNothing: a stack that is copied is at another address then.
func TestWhatComesAfterMovesNothing(t *testing.T) {
	moved := func(prepare func()) bool {
		answer := make(chan bool)
		go func() {
			var local byte
			prepare()
			before := uintptr(unsafe.Pointer(&local)) //nolint:gosec // compared only
			deep(48)
			answer <- before != uintptr(unsafe.Pointer(&local)) //nolint:gosec // as above
		}()
		return <-answer
	}
	const tries = 20 // the collector may move a stack as well
	var without, with int
	for range tries {
		if moved(func() {}) {
			without++
		}
		if moved(stack.Grow) {
			with++
		}
	}
	if without < tries/2 {
		t.Skipf("new stacks are large: %d of %d moved", without, tries)
	}
	if with > tries/4 {
		t.Errorf("%d of %d stacks moved after room was made", with, tries)
	}
}

// deep takes at least 128 bytes of stack a call.
//
//go:noinline
func deep(calls int) byte {
	var frame [128]byte
	if calls > 0 {
		frame[calls%128] = deep(calls - 1)
	}
	return frame[calls/2]
}

func BenchmarkGrow(b *testing.B) {
	for b.Loop() {
		done := make(chan struct{})
		go func() {
			stack.Grow()
			close(done)
		}()
		<-done
	}
}
