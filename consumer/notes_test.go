package consumer

import (
	"testing"
	"time"
)

func TestNotesCountAttemptsOnly(t *testing.T) {
	s, now := newNotes(), time.Now()
	s.failed(1, 1, Action{Outcome: OutcomeWaitUntil}, now)
	s.failed(1, 2, Action{Outcome: OutcomeRetry, Counts: true}, now.Add(time.Second))
	s.failed(1, 3, Action{Outcome: OutcomeRetry}, now.Add(2*time.Second))
	n := s.get(1, 4)
	if got := n.attempt(4); got != 2 {
		t.Errorf("attempt %d, want 2: two of four deliveries were none", got)
	}
	if n.failures != 1 || n.tries != 2 || !n.first.Equal(now) {
		t.Errorf("note %+v, want 1 failure, 2 tries since the first", n)
	}
	s.forget(1)
	if n := s.get(1, 5); n != (note{}) {
		t.Errorf("note %+v after forget, want none", n)
	}
}

func TestNotesForgetWhenTheServerCountsAnew(t *testing.T) {
	for name, delivered := range map[string]int{"consumer was reset": 1, "same count again": 6} {
		t.Run(name, func(t *testing.T) {
			s := newNotes()
			for d := 1; d <= 6; d++ {
				s.failed(9, d, Action{Outcome: OutcomeRetry}, time.Now())
			}
			if n := s.get(9, delivered); n != (note{}) {
				t.Errorf("note %+v, want none", n)
			}
			if got := s.get(9, delivered+1).attempt(delivered + 1); got != delivered+1 {
				t.Errorf("attempt %d, want %d", got, delivered+1)
			}
		})
	}
}

func TestNotesAreBounded(t *testing.T) {
	s, now := newNotes(), time.Now()
	for seq := range uint64(maxNotes) {
		s.failed(seq, 1, Action{Outcome: OutcomeRetry, Counts: true}, now)
	}
	s.failed(maxNotes, 1, Action{Outcome: OutcomeRetry, Counts: true}, now)
	if len(s.bySeq) > maxNotes {
		t.Errorf("%d notes, want at most %d", len(s.bySeq), maxNotes)
	}
	s.failed(maxNotes+1, 1, Action{Outcome: OutcomeRetry, Counts: true}, now.Add(2*noteLife))
	if len(s.bySeq) != 1 {
		t.Errorf("%d notes when all others are old, want 1", len(s.bySeq))
	}
}
