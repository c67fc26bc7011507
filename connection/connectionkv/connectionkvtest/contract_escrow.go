package connectionkvtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// Bucket is an escrow, as its contract speaks of it.
type Bucket interface {
	Put(ctx context.Context, key string, sealed []byte) error
	Get(ctx context.Context, key string) (sealed []byte, found bool, err error)
	Delete(ctx context.Context, key string) error
	Keys(ctx context.Context) ([]string, error)
}

// RunEscrow checks an escrow against the contract. open returns an empty one; it
// is called once a test.
func RunEscrow(t *testing.T, open func(t *testing.T) Bucket) {
	for name, test := range map[string]func(*testing.T, context.Context, Bucket){
		"values are read as put":           valuesAreReadAsPut,
		"the last put wins":                theLastPutWins,
		"deleted values are gone":          deletedValuesAreGone,
		"keys are those with a value":      keysAreThoseWithAValue,
		"a value may be large":             aValueMayBeLarge,
		"too large is for good":            tooLargeIsForGood,
		"other keys are refused":           otherKeysAreRefused,
		"racing puts leave one of them":    racingPutsLeaveOne,
		"a caller without time is told":    aCallerWithoutTime,
		"nobody shares the caller's bytes": nobodySharesBytes,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			test(t, ctx, open(t))
		})
	}
}

// EscrowKey returns the n-th key of an escrow, for tests.
func EscrowKey(n int) string {
	return fmt.Sprintf("%08x-0000-4000-8000-%012x.%x", n, n, sha256.Sum256([]byte{byte(n), byte(n >> 8), byte(n >> 16)}))
}

func mustPut(t *testing.T, ctx context.Context, b Bucket, key string, sealed []byte) {
	t.Helper()
	if err := b.Put(ctx, key, sealed); err != nil {
		t.Fatalf("Put: %v", err)
	}
}

func wantValue(t *testing.T, ctx context.Context, b Bucket, key string, want []byte) {
	t.Helper()
	got, found, err := b.Get(ctx, key)
	if err != nil || found != (want != nil) || !bytes.Equal(got, want) {
		t.Errorf("Get: %d bytes, found %t, %v; want %d bytes", len(got), found, err, len(want))
	}
}

func wantKeys(t *testing.T, ctx context.Context, b Bucket, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got, err := b.Keys(ctx); err != nil || !slices.Equal(got, want) {
		t.Errorf("Keys: %d keys %.200q, want %d: %v", len(got), got, len(want), err)
	}
}

// noise is a value of every byte.
func noise(n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(i * 31)
	}
	return out
}

func valuesAreReadAsPut(t *testing.T, ctx context.Context, b Bucket) {
	wantValue(t, ctx, b, EscrowKey(1), nil)
	mustPut(t, ctx, b, EscrowKey(1), noise(1000))
	mustPut(t, ctx, b, EscrowKey(2), noise(1))
	wantValue(t, ctx, b, EscrowKey(1), noise(1000))
	wantValue(t, ctx, b, EscrowKey(2), noise(1))
	wantValue(t, ctx, b, EscrowKey(3), nil)
}

func theLastPutWins(t *testing.T, ctx context.Context, b Bucket) {
	for _, sealed := range [][]byte{noise(10), noise(10), noise(20), noise(5)} {
		mustPut(t, ctx, b, EscrowKey(1), sealed)
		wantValue(t, ctx, b, EscrowKey(1), sealed)
	}
	wantKeys(t, ctx, b, EscrowKey(1))
}

func deletedValuesAreGone(t *testing.T, ctx context.Context, b Bucket) {
	if err := b.Delete(ctx, EscrowKey(1)); err != nil {
		t.Errorf("Delete of none: %v", err)
	}
	mustPut(t, ctx, b, EscrowKey(1), noise(10))
	mustPut(t, ctx, b, EscrowKey(2), noise(20))
	for range 2 {
		if err := b.Delete(ctx, EscrowKey(1)); err != nil {
			t.Errorf("Delete: %v", err)
		}
		wantValue(t, ctx, b, EscrowKey(1), nil)
	}
	wantValue(t, ctx, b, EscrowKey(2), noise(20))
	mustPut(t, ctx, b, EscrowKey(1), noise(30))
	wantValue(t, ctx, b, EscrowKey(1), noise(30))
}

func keysAreThoseWithAValue(t *testing.T, ctx context.Context, b Bucket) {
	wantKeys(t, ctx, b)
	var all []string
	for n := range 20 {
		mustPut(t, ctx, b, EscrowKey(n), noise(100))
		all = append(all, EscrowKey(n))
		wantKeys(t, ctx, b, slices.Clone(all)...) // none that was put is missing, however fast one looks
	}
	for n := range 20 {
		if err := b.Delete(ctx, EscrowKey(n)); err != nil {
			t.Fatal(err)
		}
	}
	// One that was deleted may show for a moment on another replica.
	deadline := time.Now().Add(10 * time.Second)
	for keys, err := b.Keys(ctx); len(keys) > 0 || err != nil; keys, err = b.Keys(ctx) {
		if time.Now().After(deadline) {
			t.Fatalf("still %d keys: %v", len(keys), err)
		}
	}
}

func aValueMayBeLarge(t *testing.T, ctx context.Context, b Bucket) {
	for n, size := range []int{400 << 10, MaxSealed - 1024} {
		mustPut(t, ctx, b, EscrowKey(n), noise(size))
		wantValue(t, ctx, b, EscrowKey(n), noise(size))
	}
	wantKeys(t, ctx, b, EscrowKey(0), EscrowKey(1))
}

func tooLargeIsForGood(t *testing.T, ctx context.Context, b Bucket) {
	mustPut(t, ctx, b, EscrowKey(1), noise(10))
	err := b.Put(ctx, EscrowKey(1), noise(MaxSealed+1))
	if fault.Of(err) != fault.GiveUp || fault.ClassOf(err) != fault.Oversize {
		t.Errorf("Put: %v, verdict %v", err, fault.Of(err))
	}
	wantValue(t, ctx, b, EscrowKey(1), noise(10))
}

func otherKeysAreRefused(t *testing.T, ctx context.Context, b Bucket) {
	good := EscrowKey(1)
	id, sum, _ := strings.Cut(good, ".")
	for _, key := range []string{
		"", ".", ">", "*", id, sum, id + "." + sum + ".x", id + "." + sum[:63], id + "." + sum + "0", id + "." + sum[:63] + "g",
		id + "." + sum[:63] + ">", id + "." + sum[:62] + "ü", strings.ToUpper(id) + "." + sum[:63] + "A", "g" + good[1:], good[:8] + "0" + good[9:], " " + good, good + "\n",
	} {
		_, _, getErr := b.Get(ctx, key)
		for what, err := range map[string]error{"Put": b.Put(ctx, key, noise(1)), "Get": getErr, "Delete": b.Delete(ctx, key)} {
			if fault.Of(err) != fault.GiveUp || fault.ClassOf(err) != fault.Malformed {
				t.Errorf("%s(%q): %v", what, key, err)
			}
			if err != nil && len(key) > 1 && strings.Contains(err.Error(), key) {
				t.Errorf("%s: the key, which may be anything, is in the error: %v", what, err)
			}
		}
	}
	wantKeys(t, ctx, b)
}

func racingPutsLeaveOne(t *testing.T, ctx context.Context, b Bucket) {
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() {
			if err := b.Put(ctx, EscrowKey(1), noise(100+i)); err != nil {
				t.Errorf("Put: %v", err)
			}
			if err := b.Put(ctx, EscrowKey(2+i), noise(i)); err != nil {
				t.Errorf("Put: %v", err)
			}
		})
	}
	wg.Wait()
	got, found, err := b.Get(ctx, EscrowKey(1))
	if err != nil || !found || len(got) < 100 || !bytes.Equal(got, noise(len(got))) {
		t.Errorf("Get: %d bytes, found %t, %v", len(got), found, err)
	}
	if keys, err := b.Keys(ctx); len(keys) != racers+1 || err != nil {
		t.Errorf("%d keys, want %d: %v", len(keys), racers+1, err)
	}
}

func aCallerWithoutTime(t *testing.T, ctx context.Context, b Bucket) {
	mustPut(t, ctx, b, EscrowKey(1), noise(10))
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, _, getErr := b.Get(gone, EscrowKey(1))
	_, keysErr := b.Keys(gone)
	for what, err := range map[string]error{
		"Put": b.Put(gone, EscrowKey(2), noise(1)), "Get": getErr, "Delete": b.Delete(gone, EscrowKey(1)), "Keys": keysErr,
	} {
		if fault.Of(err) != fault.Retry || fault.DependencyOf(err) != fault.NATS {
			t.Errorf("%s: %v, verdict %v of %q", what, err, fault.Of(err), fault.DependencyOf(err))
		}
	}
}

func nobodySharesBytes(t *testing.T, ctx context.Context, b Bucket) {
	mine := noise(10)
	mustPut(t, ctx, b, EscrowKey(1), mine)
	clear(mine)
	got, _, err := b.Get(ctx, EscrowKey(1))
	if err != nil {
		t.Fatal(err)
	}
	clear(got)
	wantValue(t, ctx, b, EscrowKey(1), noise(10))
}
