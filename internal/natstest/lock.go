package natstest

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"
)

// buildWithin bounds the build of the server: about a minute on two cores.
const buildWithin = 10 * time.Minute

func buildContext(t testing.TB) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), buildWithin)
}

// lock takes an exclusive lock on a file and returns its release. The kernel
// drops the lock with the process, so a killed test blocks nobody.
func lock(t testing.TB, name string) func() {
	t.Helper()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatalf("natstest: opening the lock: %v", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatalf("natstest: taking the lock: %v", err)
	}
	return func() { _ = f.Close() }
}
