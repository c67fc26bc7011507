package vaultstore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// Errors a caller acts on, found with errors.Is.
var (
	ErrNotFound = errors.New("no such record")
	ErrConflict = errors.New("the record was changed by another writer")
)

const (
	// quotaPause is how long a call waits after 429 without Retry-After: Vault
	// sends that header only when the operator turned it on.
	quotaPause = time.Second
	// maxProblem bounds how much of Vault's own words an error repeats.
	maxProblem = 200
)

// statusError is an answer of Vault that is no success, in bounded words of
// one line.
type statusError struct {
	status  int
	problem string
	foreign bool      // the answer is not Vault's
	until   time.Time // when the next call is welcome, if it says so
}

func (e *statusError) Error() string {
	if e.problem == "" {
		return fmt.Sprintf("status %d", e.status)
	}
	return fmt.Sprintf("status %d: %s", e.status, e.problem)
}

// judge gives the error of one call its verdict. A write whose request may have
// been carried out although no success came back is ambiguous, whatever the
// last answer was.
func judge(ctx context.Context, write bool, w *wire, err error) error {
	if err == nil {
		return nil
	}
	err = inOurWords(w, err)
	e, answered := errors.AsType[*statusError](err)
	if !answered {
		return judgeSilence(ctx, write, w, err)
	}
	unsure := write && w.maybeApplied.Load()
	switch {
	case isTooLarge(e):
		return fault.Permanent(fault.Oversize, fmt.Errorf("%w: %w", ErrTooLarge, err))
	case isConflict(e):
		return fault.Transient("", fmt.Errorf("%w: %w", ErrConflict, err))
	case unsure:
		return fault.Ambiguous(fault.Vault, err)
	case e.status == http.StatusTooManyRequests:
		now, asked := time.Now(), time.Duration(w.retryAfter.Load())
		if asked > 0 {
			e.until = now.Add(asked)
		}
		return fault.Throttled(fault.Vault, now.Add(max(quotaPause, asked)), err)
	case e.status == http.StatusNotFound:
		return fault.Transient(fault.Vault, fmt.Errorf("nothing is mounted at this path: %w", err))
	}
	// Sealed, standby, not yet replicated, forbidden, misconfigured: an operator
	// or time will mend it, and until then the event waits. Giving up would put
	// events aside for a fault that is not theirs.
	return fault.Transient(fault.Vault, err)
}

// inOurWords replaces an error that holds an answer of Vault, which would print
// many lines with whatever the answer said, by a statusError.
func inOurWords(w *wire, err error) error {
	re, ok := errors.AsType[*api.ResponseError](err)
	if !ok {
		return err
	}
	return &statusError{status: re.StatusCode, problem: problemOf(w, re), foreign: re.RawError}
}

// judgeSilence judges a call that got no answer.
func judgeSilence(ctx context.Context, write bool, w *wire, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	if write && w.maybeApplied.Load() {
		return fault.Ambiguous(fault.Vault, err)
	}
	return fault.Transient(fault.Vault, err)
}

// isConflict knows a lost check-and-set by its text: the status is that of any
// bad request.
func isConflict(e *statusError) bool {
	return e.status == http.StatusBadRequest && strings.Contains(e.problem, "check-and-set parameter did not match")
}

// isTooLarge knows the limits of raft (500, "value being too large"), of
// Vault's JSON reader (500, "exceeds allowed length") and of its listener (413).
func isTooLarge(e *statusError) bool {
	if e.status == http.StatusRequestEntityTooLarge {
		return true
	}
	return e.status == http.StatusInternalServerError &&
		(strings.Contains(e.problem, "value being too large") || strings.Contains(e.problem, "exceeds allowed length"))
}

func isForbidden(err error) bool {
	e, ok := errors.AsType[*statusError](err)
	return ok && e.status == http.StatusForbidden
}

// problemOf returns Vault's own words on one line, without what was sent. What is no JSON came from
// something between us and Vault and is not repeated.
func problemOf(w *wire, re *api.ResponseError) string {
	if re.RawError {
		return "an answer that is not Vault's"
	}
	problem := strings.Join(strings.Fields(w.quiet(strings.Join(re.Errors, "; "))), " ")
	if len(problem) > maxProblem {
		problem = strings.ToValidUTF8(problem[:maxProblem], "") + "…"
	}
	return problem
}
