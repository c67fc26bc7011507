package connectionkv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// BucketEscrow holds sealed answers of finX that Vault has not taken yet.
const BucketEscrow = "finx_escrow"

// Escrow keeps sealed values in a bucket that all replicas share, each under the
// key "<connection uuid>.<64 hex digits>", both in lower case; another key is
// refused with the verdict GiveUp (malformed). It looks into no value. Safe for
// concurrent use, by any number of replicas.
//
// The last write of a key wins: a value is written by whoever has it, and the
// same one again does no harm. No call goes on for longer than the time-out of a
// request allows, so whoever needs a value stored through an election of the
// broker's leader calls Put again. Errors of NATS carry the verdict Retry, marked
// ambiguous when a write may have taken effect and reading again could not tell.
type Escrow struct {
	bucket    bucket
	markerTTL time.Duration
	metrics   *Metrics
}

// NewEscrow returns an Escrow. Of the configuration it uses JS, Timeout and
// Metrics. It does no I/O; see Check.
func NewEscrow(c Config) (*Escrow, error) {
	if c.JS == nil {
		return nil, errors.New("connectionkv: no JetStream handle")
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	return &Escrow{
		bucket:    bucket{js: c.JS, name: BucketEscrow, timeout: c.Timeout},
		markerTTL: markerTTL,
		metrics:   c.Metrics,
	}, nil
}

// Put stores sealed under key, in place of what was there. nil means that the
// broker has it, on a majority of its replicas. A value that with its headers
// exceeds the broker's max_payload (1 MiB unless configured) is refused with the
// verdict GiveUp (oversize).
func (e *Escrow) Put(ctx context.Context, key string, sealed []byte) error {
	err := e.put(ctx, key, sealed)
	e.metrics.observe(opEscrowPut, err)
	if err != nil {
		return fmt.Errorf("connectionkv: putting %d bytes into escrow: %w", len(sealed), err)
	}
	return nil
}

func (e *Escrow) put(ctx context.Context, key string, sealed []byte) error {
	if err := checkEscrowKey(key); err != nil {
		return err
	}
	_, err := e.bucket.send(ctx, &nats.Msg{Subject: e.bucket.subject(key), Data: sealed})
	if !fault.IsAmbiguous(err) {
		return err
	}
	if now, readErr := e.bucket.readAfter(ctx, key); readErr == nil && now.live && bytes.Equal(now.value, sealed) {
		return nil
	}
	return err
}

// Get returns the value under key from the leader of the bucket, so that what a
// Put has stored is found by every replica. found is false when there is none.
func (e *Escrow) Get(ctx context.Context, key string) (sealed []byte, found bool, err error) {
	sealed, found, err = e.get(ctx, key)
	e.metrics.observe(opEscrowGet, err)
	if err != nil {
		return nil, false, fmt.Errorf("connectionkv: getting from escrow: %w", err)
	}
	return sealed, found, nil
}

func (e *Escrow) get(ctx context.Context, key string) ([]byte, bool, error) {
	if err := checkEscrowKey(key); err != nil {
		return nil, false, err
	}
	now, err := e.bucket.read(ctx, key)
	if err != nil || !now.live {
		return nil, false, err
	}
	return now.value, true, nil
}

// Delete takes the value under key away for good. What stays is a marker of a
// few bytes that the broker removes after a minute. No value is no error.
func (e *Escrow) Delete(ctx context.Context, key string) error {
	err := e.delete(ctx, key)
	e.metrics.observe(opEscrowDelete, err)
	if err != nil {
		return fmt.Errorf("connectionkv: deleting from escrow: %w", err)
	}
	return nil
}

func (e *Escrow) delete(ctx context.Context, key string) error {
	if err := checkEscrowKey(key); err != nil {
		return err
	}
	_, err := e.bucket.send(ctx, marker(e.bucket.subject(key)), jetstream.WithMsgTTL(e.markerTTL))
	if !fault.IsAmbiguous(err) {
		return err
	}
	if now, readErr := e.bucket.readAfter(ctx, key); readErr == nil && !now.live {
		return nil
	}
	return err
}

// Check reports whether the bucket is there and fit, for readiness and doctor.
// The remedy is in the error.
func (e *Escrow) Check(ctx context.Context) error {
	if err := e.bucket.check(ctx); err != nil {
		return fmt.Errorf("connectionkv: checking bucket %s: %w", e.bucket.name, err)
	}
	return nil
}

// checkEscrowKey refuses what may not stand in a subject or is no key of ours.
// The text does not repeat the key: it may be anything.
func checkEscrowKey(key string) error {
	if isEscrowKey(key) {
		return nil
	}
	return fault.Permanent(fault.Malformed, fmt.Errorf("a key of %d bytes is not a lower-case uuid, a dot and 64 hex digits", len(key)))
}

func isEscrowKey(key string) bool {
	const uuidLen, hexLen = 36, 64
	id, sum, ok := strings.Cut(key, ".")
	if !ok || len(id) != uuidLen || len(sum) != hexLen {
		return false
	}
	for i, c := range id {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (c == '-') || !dash && !isHex(c) {
			return false
		}
	}
	return !strings.ContainsFunc(sum, func(c rune) bool { return !isHex(c) })
}

func isHex(c rune) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' }
