package consumer

import (
	"testing"
	"time"
)

// SetMaxWait shortens the longest wait that is left to a consumer. Not for parallel
// tests.
func SetMaxWait(t *testing.T, d time.Duration) {
	t.Helper()
	was := maxWait
	maxWait = d
	t.Cleanup(func() { maxWait = was })
}
