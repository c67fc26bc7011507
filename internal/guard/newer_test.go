package guard_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/finx-connector/finx-connector/internal/guard"
)

// What a newer program says is not understood, so it is not followed, and not written
// over either: until all are upgraded the older ones decide alone.
func TestANewerStateIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const newer = `{"v":2,"open":{"until":"2999-01-01T00:00:00Z"},"open_until":7}`
		store := newMemory()
		store.mu.Lock()
		store.put("breaker.finx", []byte(newer))
		store.mu.Unlock()
		replicas := fleet(t, 2, newServer(0, nil), guard.Config{Shared: store})
		synctest.Wait()
		wantOpen(t, false, replicas...)
		replicas[0].fail(t, 5)
		wantOpen(t, true, replicas[0])
		wantOpen(t, false, replicas[1])
		if got := string(store.values["breaker.finx"].value); got != newer {
			t.Errorf("it was written over: %s", got)
		}
		if _, err := guard.ReadStatus([]byte(newer)); err == nil || !strings.Contains(err.Error(), "version 2, the highest that is read is 1") {
			t.Errorf("%v", err)
		}
	})
}

func TestStatesSayTheirVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		replicas := fleet(t, 2, newServer(0, nil), guard.Config{Shared: store})
		replicas[0].fail(t, 5)
		wantOpen(t, true, replicas...)
		if got := string(store.values["breaker.finx"].value); !strings.Contains(got, `"kind":"away"`) || !strings.Contains(got, `"v":1`) {
			t.Errorf("%s", got)
		}
	})
}
