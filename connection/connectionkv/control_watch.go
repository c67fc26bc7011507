package connectionkv

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Watch calls each with the value of a key as it is now, then with every value it
// gets; with nil and 0 when there is none, be it deleted or run out of its TTL. A
// value that is overwritten at once may be left out, the newest never is. Calls
// come one after the other.
//
// It returns nil when ctx has ended, and an error when it cannot promise any more
// to tell of every change: the bucket is missing or was deleted, the broker is
// silent, a message was lost, or the leader knows something else than what was
// told. Then call it again; what was missed comes first.
func (c *Control) Watch(ctx context.Context, key string, each func(value []byte, revision uint64)) error {
	err := c.watch(ctx, key, each)
	if ctx.Err() != nil {
		err = nil
	}
	c.metrics.observe(opControlWatch, err)
	if err != nil {
		return fmt.Errorf("connectionkv: watching a shared state: %w", err)
	}
	return nil
}

func (c *Control) watch(ctx context.Context, key string, each func(value []byte, revision uint64)) error {
	if err := checkName("key", key); err != nil {
		return err
	}
	f, err := c.bucket.follow(ctx, key, c.pace.beat)
	if err != nil {
		return err
	}
	defer f.stop()
	w := watch{bucket: c.bucket, key: key, every: c.pace.compare, compared: time.Now()}
	told := f.initial == 0
	if told {
		each(nil, 0)
	}
	for {
		change, idle, err := f.next(ctx)
		switch {
		case err != nil:
			return err
		case !idle:
			w.known = entry{value: change.value, revision: change.revision, live: change.live}
		case told:
			if err := w.compare(ctx); err != nil {
				return err
			}
			continue
		}
		told = true // idle without a word: what was there at the start has gone meanwhile
		if w.known.live {
			each(present(w.known.value), w.known.revision)
		} else {
			each(nil, 0)
		}
	}
}

// watch is what a Watch has told, to be held against the leader's word. Messages
// can be removed from a bucket without leaving a marker, and consumers were seen
// to go on after a recovery without what is new.
type watch struct {
	bucket   bucket
	key      string
	every    time.Duration
	known    entry
	compared time.Time

	doubted bool // the leader knew something else when it was asked last: doubt
	doubt   entry
}

// compare asks the leader, if it is time. Only what the leader still says a
// heartbeat later is a difference: before that, it may be on its way to us.
func (w *watch) compare(ctx context.Context) error {
	if !w.doubted && time.Since(w.compared) < w.every {
		return nil
	}
	now, err := w.bucket.read(ctx, w.key)
	if err != nil {
		return nil //nolint:nilerr // no leader for the moment: asked again at the next heartbeat, which may well be the last
	}
	w.compared = time.Now()
	if same(now, w.known) {
		w.doubted = false
		return nil
	}
	if w.doubted && same(now, w.doubt) {
		return judgeRead(errors.New("the key has changed, and nobody told"))
	}
	w.doubted, w.doubt = true, now
	return nil
}

// same reports whether two looks at a key saw the same value, or none.
func same(a, b entry) bool {
	return a.live == b.live && (!a.live || a.revision == b.revision)
}
