package connectionkvtest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/connection/connectionkv/connectionkvtest"
)

func TestMemoryKeepsTheContract(t *testing.T) {
	connectionkvtest.Run(t, func(*testing.T) connectionkvtest.Store { return connectionkvtest.NewMemory() })
}

func TestEscrowInMemoryKeepsTheContract(t *testing.T) {
	connectionkvtest.RunEscrow(t, func(*testing.T) connectionkvtest.Bucket { return connectionkvtest.NewEscrow() })
}

func TestControlInMemoryKeepsTheContract(t *testing.T) {
	connectionkvtest.RunControl(t, func(*testing.T) connectionkvtest.ControlRig {
		const ttl = time.Second
		bucket := connectionkvtest.NewControlBucket(ttl)
		return connectionkvtest.ControlRig{
			Open:   func(_ *testing.T, holder string) connectionkvtest.Controller { return bucket.Open(holder) },
			Delete: func(_ *testing.T, key string) { bucket.Delete(key) },
			Kill:   bucket.Kill,
			TTL:    ttl,
		}
	})
}

func TestControlInMemoryForgetsSuspects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connectionkvtest.NewControlBucket(time.Second).Open("a")
		for _, step := range []struct {
			after time.Duration
			want  int
		}{{0, 1}, {23 * time.Hour, 2}, {23 * time.Hour, 3}, {25 * time.Hour, 1}} {
			time.Sleep(step.after)
			if got, err := c.Begun(t.Context(), "S", 1); got != step.want || err != nil {
				t.Errorf("%s later: %d, %v; want %d", step.after, got, err, step.want)
			}
		}
	})
}
