package fault_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
)

var errCause = errors.New("cause")

func TestVerdictSurvivesThreeLayersOfWrapping(t *testing.T) {
	until := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	cases := []struct {
		name      string
		err       error
		verdict   fault.Verdict
		class     fault.Class
		dep       fault.Dependency
		ambiguous bool
	}{
		{"nil is done", nil, fault.Done, fault.Exhausted, "", false},
		{"a stranger is retried", errCause, fault.Retry, fault.Exhausted, "", false},
		{"transient", fault.Transient(fault.FinX, errCause), fault.Retry, fault.Exhausted, fault.FinX, false},
		{"ambiguous", fault.Ambiguous(fault.Vault, errCause), fault.Retry, fault.Exhausted, fault.Vault, true},
		{"throttled", fault.Throttled(fault.FinX, until, errCause), fault.WaitUntil, fault.Exhausted, fault.FinX, false},
		{"permanent", fault.Permanent(fault.Malformed, errCause), fault.GiveUp, fault.Malformed, "", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := c.err
			if err != nil {
				err = fmt.Errorf("outer: %w", fmt.Errorf("middle: %w", fmt.Errorf("inner: %w", err)))
				if !errors.Is(err, errCause) {
					t.Errorf("errors.Is does not find the cause in %v", err)
				}
			}
			if got := fault.Of(err); got != c.verdict {
				t.Errorf("Of = %v, want %v", got, c.verdict)
			}
			if got := fault.ClassOf(err); got != c.class {
				t.Errorf("ClassOf = %v, want %v", got, c.class)
			}
			if got := fault.DependencyOf(err); got != c.dep {
				t.Errorf("DependencyOf = %q, want %q", got, c.dep)
			}
			if got := fault.IsAmbiguous(err); got != c.ambiguous {
				t.Errorf("IsAmbiguous = %v, want %v", got, c.ambiguous)
			}
			if got, ok := fault.Until(err); ok != (c.verdict == fault.WaitUntil) || ok && !got.Equal(until) {
				t.Errorf("Until = %v, %v", got, ok)
			}
		})
	}
}

func TestTheOutermostVerdictWins(t *testing.T) {
	err := fault.Permanent(fault.Expired, fmt.Errorf("too late: %w", fault.Transient(fault.FinX, errCause)))
	if got := fault.Of(err); got != fault.GiveUp {
		t.Errorf("Of = %v, want %v", got, fault.GiveUp)
	}
	if got := fault.ClassOf(err); got != fault.Expired {
		t.Errorf("ClassOf = %v, want %v", got, fault.Expired)
	}
}

func TestVerdictNames(t *testing.T) {
	want := map[fault.Verdict]string{
		fault.Done: "done", fault.Retry: "retry", fault.WaitUntil: "wait_until", fault.GiveUp: "give_up", 99: "unknown",
	}
	for v, name := range want {
		if got := v.String(); got != name {
			t.Errorf("Verdict(%d) = %q, want %q", v, got, name)
		}
	}
}
