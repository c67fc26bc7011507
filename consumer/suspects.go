package consumer

import "context"

// Suspects counts, over all processes, how often the handling of a message was
// begun and did not return. It must be safe for concurrent use.
type Suspects interface {
	// Begun notes that a message is about to be handled and returns how often that
	// was noted without Returned, this time included.
	Begun(ctx context.Context, stream string, sequence uint64) (times int, err error)
	// Returned notes that the process has lived through it.
	Returned(ctx context.Context, stream string, sequence uint64) error
}
