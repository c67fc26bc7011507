package connectionkv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Keys returns the keys that have a value, sorted. On an empty bucket, which is
// the rule, it costs one small request. A key whose value is deleted meanwhile
// may be among them; one that a Put had stored before is never missing, unless it
// was deleted within the last minute and stored again.
func (e *Escrow) Keys(ctx context.Context) ([]string, error) {
	keys, err := e.keys(ctx)
	e.metrics.observe(opEscrowKeys, err)
	if err != nil {
		return nil, fmt.Errorf("connectionkv: listing escrow: %w", err)
	}
	return keys, nil
}

// keys asks the leader of the bucket for the subjects in it, and leaves out those
// that a watch shows to be deleted. The watch alone would not do: it is served by
// any replica, which may lag behind and know nothing of the newest key.
func (e *Escrow) keys(ctx context.Context) ([]string, error) {
	subjects, err := e.bucket.subjects(ctx)
	if err != nil || len(subjects) == 0 {
		return nil, err
	}
	deleted, err := e.bucket.deleted(ctx)
	if err != nil {
		return nil, err
	}
	var keys []string
	for subject := range subjects {
		key := strings.TrimPrefix(subject, e.bucket.keySubject(""))
		if isEscrowKey(key) && !deleted[key] { // what others put there is not ours to touch
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys, nil
}

// subjects returns the subjects of all messages in the bucket, markers included,
// as its leader knows them.
func (b bucket) subjects(ctx context.Context) (map[string]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	s, err := b.js.Stream(ctx, "KV_"+b.name)
	if err != nil {
		return nil, judgeRead(err)
	}
	if s.CachedInfo().State.Msgs == 0 {
		return nil, nil
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(b.keySubject(">")))
	if err != nil {
		return nil, judgeRead(err)
	}
	return info.State.Subjects, nil
}

// deleted returns the keys whose newest message is a marker. It reads headers
// only, however large the values are.
func (b bucket) deleted(ctx context.Context) (map[string]bool, error) {
	open, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	kv, err := b.js.KeyValue(open, b.name)
	if err != nil {
		return nil, judgeRead(err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	w, err := kv.WatchAll(ctx, jetstream.MetaOnly())
	if err != nil {
		return nil, judgeRead(err)
	}
	defer stopWatch(w)
	deleted := map[string]bool{}
	stall := time.NewTimer(b.timeout)
	defer stall.Stop()
	for {
		select {
		case e, open := <-w.Updates():
			if !open {
				return nil, judgeRead(errors.New("the watch ended early"))
			}
			if e == nil { // all that there was at the start has come
				return deleted, nil
			}
			deleted[e.Key()] = e.Operation() != jetstream.KeyValuePut
			stall.Reset(b.timeout)
		case <-stall.C:
			return nil, judgeRead(fmt.Errorf("no key came within %s", b.timeout))
		case <-ctx.Done():
			return nil, judgeRead(context.Cause(ctx))
		}
	}
}

// stopWatch ends a watch and takes what it still wants to deliver: nats.go's
// watcher would wait for ever on a full channel otherwise.
func stopWatch(w jetstream.KeyWatcher) {
	_ = w.Stop()
	go func() {
		for range w.Updates() { // only drained; the closed handler ends it
		}
	}()
}
