package events

import (
	"fmt"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// FieldError says which field of an event is wrong and what is wrong with it.
// It never quotes the value, which may be a secret.
type FieldError struct {
	Field   string // member name, attribute name, header name, or a path like "accounts/0/id"
	Problem string
}

// Error returns "field: problem".
func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

func problem(field, format string, args ...any) *FieldError {
	return &FieldError{Field: field, Problem: fmt.Sprintf(format, args...)}
}

// refuse gives a field error its verdict and says which event it belongs to.
func refuse(class fault.Class, what string, fe *FieldError) error {
	return fault.Permanent(class, fmt.Errorf("events: reading %s: %w", what, fe))
}
