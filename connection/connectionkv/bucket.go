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

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/streamread"
	"github.com/finx-connector/finx-connector/internal/telemetry"
)

// bucket speaks the KV protocol of one bucket. jetstream.KeyValue does not do:
// it reads from any replica, and it cannot renew the TTL of a key (its Update
// takes no TTL, and deleting and creating again would let another holder in
// between).
type bucket struct {
	js      jetstream.JetStream
	name    string
	timeout time.Duration // of one request; the caller's context may be an hour long
}

// entry is the newest message of a key. Revision 0 means that there never was
// one; live is false when it is a delete marker.
type entry struct {
	value    []byte
	revision uint64
	live     bool
}

// createTries bounds how often a create goes around when delete markers come
// and go under it.
const createTries = 4

// subject is where a key is written to.
func (b bucket) subject(key string) string { return b.prefix() + b.keySubject(key) }

// keySubject is the subject under which the bucket stores a key.
func (b bucket) keySubject(key string) string { return "$KV." + b.name + "." + key }

// prefix is what stands before the subject of a key when the caller's handle has
// an API prefix or a domain of its own.
func (b bucket) prefix() string {
	o := b.js.Options()
	switch {
	case o.Domain != "":
		return "$JS." + o.Domain + ".API."
	case o.APIPrefix != "" && o.APIPrefix != jetstream.DefaultAPIPrefix:
		return strings.TrimSuffix(o.APIPrefix, ".") + "."
	}
	return ""
}

// read returns the newest message of a key from the leader of the bucket.
func (b bucket) read(ctx context.Context, key string) (entry, error) {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	waited := telemetry.Waiting(ctx, "kv.get")
	m, err := streamread.Last(ctx, b.js, "KV_"+b.name, b.keySubject(key))
	if errors.Is(err, streamread.ErrNotFound) {
		waited(nil)
		return entry{}, nil
	}
	if waited(err); err != nil {
		return entry{}, judgeRead(err)
	}
	return entry{value: m.Data, revision: m.Sequence, live: isValue(m.Header)}, nil
}

// isValue reports whether a message with these headers is a value: not a
// delete or purge marker of a client, nor the server's marker of an expired key.
func isValue(h nats.Header) bool {
	return h.Get("KV-Operation") == "" && h.Get(jetstream.MarkerReasonHeader) == ""
}

// write stores value if the newest revision of key is expect (0 = none) and
// returns the new revision. A ttl of 0 keeps the key for ever. Errors:
// connection.ErrConflict, or one with a verdict of NATS.
//
// A replicated stream also refuses a write while another one to the same key is
// on its way through the cluster, the one before it included, although the newest
// revision is the expected one (seen on server 2.15 under load). So a refusal
// counts only when the key has moved; else the write is tried again, soon.
func (b bucket) write(ctx context.Context, key string, value []byte, expect uint64, ttl time.Duration) (uint64, error) {
	for wait := conflictWait; ; wait *= 4 {
		revision, err := b.writeOnce(ctx, key, value, expect, ttl)
		if !errors.Is(err, connection.ErrConflict) || wait > conflictWaitMax {
			return revision, err
		}
		now, readErr := b.read(ctx, key)
		if readErr != nil || now.revision != expect {
			return 0, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return 0, err
		}
	}
}

// How long to wait after a refusal that the key's revision does not explain:
// 5, 20 and 80 ms.
const (
	conflictWait    = 5 * time.Millisecond
	conflictWaitMax = 100 * time.Millisecond
)

// writeOnce is write without that patience.
func (b bucket) writeOnce(ctx context.Context, key string, value []byte, expect uint64, ttl time.Duration) (uint64, error) {
	m := &nats.Msg{Subject: b.subject(key), Header: nats.Header{}, Data: value}
	revision, err := b.publish(ctx, m, expect, ttl)
	if !fault.IsAmbiguous(err) {
		return revision, err
	}
	// The answer was lost: the value may be there all the same.
	now, readErr := b.readAfter(ctx, key)
	switch {
	case readErr != nil || now.revision == expect:
		return 0, err // unknown, or not stored so far; a late arrival loses or wins by its own compare-and-set
	case now.live && bytes.Equal(now.value, value):
		return now.revision, nil
	}
	return 0, conflict()
}

// create is write for a key that has no value; a delete marker counts as none.
// It answers connection.ErrExists when there is one.
func (b bucket) create(ctx context.Context, key string, value []byte, ttl time.Duration) (uint64, error) {
	var expect uint64
	for range createTries {
		revision, err := b.write(ctx, key, value, expect, ttl)
		if !errors.Is(err, connection.ErrConflict) {
			return revision, err
		}
		now, err := b.read(ctx, key)
		if err != nil {
			return 0, err
		}
		if now.live {
			return 0, connection.ErrExists
		}
		expect = now.revision
	}
	return 0, conflict()
}

// remove deletes key if its newest revision is expect. The marker that stays
// goes away after markerTTL, or stays for ever when that is 0.
func (b bucket) remove(ctx context.Context, key string, expect uint64, markerTTL time.Duration) error {
	_, err := b.publish(ctx, marker(b.subject(key)), expect, markerTTL)
	if !fault.IsAmbiguous(err) {
		return err
	}
	if now, readErr := b.readAfter(ctx, key); readErr == nil && !now.live {
		return nil
	}
	return err
}

// marker replaces all messages of a subject and says that the key has no value.
func marker(subject string) *nats.Msg {
	return &nats.Msg{Subject: subject, Header: nats.Header{
		"KV-Operation":      {"PURGE"},
		jetstream.MsgRollup: {jetstream.MsgRollupSubject},
	}}
}

// settleTimeout bounds the read that follows a lost answer. It has a clock of
// its own, because the caller's has often just run out.
const settleTimeout = 2 * time.Second

func (b bucket) readAfter(ctx context.Context, key string) (entry, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	return b.read(ctx, key)
}

func (b bucket) publish(ctx context.Context, m *nats.Msg, expect uint64, ttl time.Duration) (uint64, error) {
	opts := []jetstream.PublishOpt{jetstream.WithExpectLastSequencePerSubject(expect)}
	if ttl > 0 {
		opts = append(opts, jetstream.WithMsgTTL(ttl))
	}
	return b.send(ctx, m, opts...)
}

// send publishes m into the bucket and returns its revision.
func (b bucket) send(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	waited := telemetry.Waiting(ctx, "kv.put")
	ack, err := b.js.PublishMsg(ctx, m, opts...)
	if waited(err); err != nil {
		return 0, judgeWrite(err)
	}
	if want := "KV_" + b.name; ack.Stream != want {
		return 0, fault.Transient(fault.NATS, fmt.Errorf("stored by stream %s, not by %s", ack.Stream, want))
	}
	return ack.Sequence, nil
}
