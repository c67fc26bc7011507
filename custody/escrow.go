package custody

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/crashpoint"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// Escrow is where sealed copies of answers wait that Vault has not taken yet,
// so that an answer outlives the process that received it.
type Escrow struct {
	// Keys seals and opens. Required.
	Keys DataKeys
	// Bucket is shared by all replicas; it gets a copy when Vault does not take
	// the answer. Required.
	Bucket Bucket
	// Spool is on this host; it gets a copy of every answer for the moment until
	// Vault has it, so that a process killed in that moment loses nothing. May be nil.
	Spool Bucket
}

// DataKeys hands out keys of 32 bytes to seal with, and opens them again. An
// error with the verdict GiveUp means that there is no such key and asking
// again is of no use for now.
type DataKeys interface {
	// DataKey returns a key and the form of it that may be kept beside what it seals.
	DataKey(ctx context.Context) (plain []byte, wrapped string, err error)
	// OpenKey returns the key that is wrapped.
	OpenKey(ctx context.Context, wrapped string) (plain []byte, err error)
}

// Bucket keeps sealed copies under keys of the form
// "<connection id>.<SHA-256 of the value that was spent>".
type Bucket interface {
	// Put keeps a copy; one under the same key is replaced.
	Put(ctx context.Context, key string, sealed []byte) error
	Get(ctx context.Context, key string) (sealed []byte, found bool, err error)
	// Delete forgets a copy; none is no error.
	Delete(ctx context.Context, key string) error
	Keys(ctx context.Context) ([]string, error)
}

// buckets returns where copies may be, the nearest first.
func (e *Escrow) buckets() []Bucket {
	switch {
	case e == nil:
		return nil
	case e.Spool == nil:
		return []Bucket{e.Bucket}
	}
	return []Bucket{e.Spool, e.Bucket}
}

func escrowKey(id, sha256 string) string { return id + "." + sha256 }

const (
	// escrowAfter is how long Vault may take for an answer before a copy goes
	// into escrow beside it. It usually takes milliseconds.
	escrowAfter = time.Second
	// escrowTry bounds one request to the bucket.
	escrowTry = 10 * time.Second
)

// copies are the sealed copies of one answer.
type copies struct {
	k      *Keeper
	hold   *hold
	id     string
	kind   string
	key    string
	sealed []byte // nil: there is no escrow

	mu     sync.Mutex
	closed bool               // the answer is in Vault: no copy any more
	stop   context.CancelFunc // ends the tries to put one into the bucket; nil: none was begun
	done   chan struct{}
}

// keep seals an answer and puts a copy into the spool. From here on the answer
// outlives this process, if there is a spool.
func (k *Keeper) keep(ctx context.Context, s spend, h *hold, with *sealingKey, t finx.Tokens) *copies {
	c := &copies{k: k, hold: h, id: s.id, kind: s.kind, key: escrowKey(s.id, s.sha256)}
	if with == nil {
		return c
	}
	var err error
	if c.sealed, err = with.seal(c.key, answerOf(s, k.cfg.Holder, t)); err != nil {
		k.cfg.Logger.ErrorContext(ctx, "answer not sealed, it has no copy until Vault takes it", "connection_id", s.id, "kind", s.kind, "error", err)
		return c
	}
	if spool := k.cfg.Escrow.Spool; spool != nil {
		if err := spool.Put(ctx, c.key, c.sealed); err != nil {
			k.cfg.Logger.ErrorContext(ctx, "answer not spooled", "connection_id", s.id, "kind", s.kind, "error", err)
		} else {
			h.spooled()
		}
	}
	crashpoint.Reached(s.kind + crashpoint.Kept)
	return c
}

// escrow begins to put a copy into the bucket, once; it goes on beside the
// caller until there is one.
func (c *copies) escrow(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stop != nil || c.closed || c.sealed == nil {
		return
	}
	ctx, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	c.done = make(chan struct{})
	go func() {
		defer close(c.done)
		c.put(ctx)
	}()
}

func (c *copies) put(ctx context.Context) {
	log := c.k.cfg.Logger.With(slog.String("connection_id", c.id), slog.String("kind", c.kind))
	for wait := storeWaitFirst; ; wait = min(wait*2, storeWaitMax) {
		try, cancel := context.WithTimeout(ctx, escrowTry)
		err := c.k.cfg.Escrow.Bucket.Put(try, c.key, c.sealed)
		cancel()
		switch {
		case err == nil:
			c.hold.copied()
			c.k.cfg.Metrics.escrowed()
			log.WarnContext(ctx, "tokens in hand are in escrow until Vault takes them")
			crashpoint.Reached(c.kind + crashpoint.Escrowed)
			return
		case ctx.Err() != nil:
			return
		case fault.Of(err) == fault.GiveUp:
			log.ErrorContext(ctx, "tokens in hand cannot be put into escrow", "error", err)
			return
		}
		log.ErrorContext(ctx, "tokens in hand are not in escrow either, trying on", "error", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// forget takes the copies away. What cannot be taken away now is found by
// BringHome, which sees that the answer is stored.
func (c *copies) forget(ctx context.Context) {
	if c.sealed == nil {
		return
	}
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	var from []Bucket
	if spool := c.k.cfg.Escrow.Spool; spool != nil {
		from = append(from, spool)
	}
	if c.stop != nil {
		c.stop()
		<-c.done
		from = append(from, c.k.cfg.Escrow.Bucket)
	}
	c.k.takeAway(ctx, c.key, from)
}

// takeAway deletes copies of an answer that is stored, or out of date.
func (k *Keeper) takeAway(ctx context.Context, key string, from []Bucket) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), bookkeeping)
	defer cancel()
	for _, b := range from {
		if err := b.Delete(ctx, key); err != nil {
			id, _ := connectionOf(key)
			k.cfg.Logger.WarnContext(ctx, "copy of a stored answer left in escrow", "connection_id", id, "error", err)
		}
	}
}

// recall returns the answer to a value that an earlier process may have left
// behind, and where.
func (k *Keeper) recall(ctx context.Context, id, sha256 string) (newest answer, some bool, err error) {
	key := escrowKey(id, sha256)
	var away error
	for _, b := range k.cfg.Escrow.buckets() {
		sealed, found, err := b.Get(ctx, key)
		if err != nil {
			return answer{}, false, fmt.Errorf("custody: looking for an answer in escrow: %w", err)
		}
		if !found {
			continue
		}
		a, err := k.keys.open(ctx, key, sealed)
		if fault.Of(err) == fault.GiveUp {
			for _, is := range []error{errKeyAway, errNewer} {
				if errors.Is(err, is) {
					away = is
				}
			}
			// Whoever has the key again may still bring it home.
			k.cfg.Logger.ErrorContext(ctx, "an answer in escrow cannot be opened", "connection_id", id, "error", err)
			continue
		}
		if err != nil {
			return answer{}, false, err
		}
		// Two processes may have got two answers to one value, one in each place.
		if !some || a.tokens.ReceivedAt.After(newest.tokens.ReceivedAt) {
			newest, some = a, true
		}
	}
	if away != nil && !some {
		// finX has answered this value: spending it again brings nothing, and may cost
		// the answer. It waits for an operator, who is told.
		return answer{}, false, fault.Throttled("", time.Now().Add(time.Minute), fmt.Errorf("custody: an answer in escrow: %w", away))
	}
	return newest, some, nil
}

// connectionOf returns the connection of a key in escrow.
func connectionOf(key string) (id, sha256 string) {
	id, sha256, _ = strings.Cut(key, ".")
	return id, sha256
}
