package replay

import (
	"bytes"
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
)

// references says whether the large objects that events refer to are still there.
// The events are replayed as they are, whether or not.
type references struct {
	*Replayer

	store jetstream.ObjectStore
	seen  map[string]bool // object: it is gone
}

// mostReferences bounds what is remembered.
const mostReferences = 10_000

// gone counts the references of an event to objects that are not in the store any
// more. What cannot be found out is not counted.
func (r *references) gone(ctx context.Context, it item) int {
	if it.typ != events.TypeTransactionsFetched || !bytes.Contains(it.data, []byte(`"oversize":[`)) {
		return 0
	}
	o, err := events.ParseOutput(events.Message{Data: it.data})
	if err != nil {
		return 0
	}
	fetched, err := events.DecodeTransactionsFetched(o)
	if err != nil {
		return 0
	}
	n := 0
	for _, ref := range fetched.Oversize {
		if ref.Bucket == events.ObjectsOversize && r.isGone(ctx, ref.Object) {
			n++
		}
	}
	return n
}

func (r *references) isGone(ctx context.Context, object string) bool {
	if gone, known := r.seen[object]; known {
		return gone
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	var err error
	if r.store == nil {
		if r.store, err = r.cfg.JS.ObjectStore(ctx, events.ObjectsOversize); err != nil {
			r.store = nil
			return errors.Is(err, jetstream.ErrBucketNotFound)
		}
	}
	_, err = r.store.GetInfo(ctx, object)
	if err != nil && !errors.Is(err, jetstream.ErrObjectNotFound) {
		return false // it could not be found out
	}
	if r.seen == nil || len(r.seen) >= mostReferences {
		r.seen = map[string]bool{}
	}
	r.seen[object] = err != nil
	return err != nil
}
