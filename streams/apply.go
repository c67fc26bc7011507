package streams

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Apply makes the changes of Diff that are not Manual. It reads each thing again
// before it writes, so a stale diff does no harm, and two that run at once come
// to the same end. It goes on after an error and returns all of them; what was
// done stays done, and applying again does the rest.
func (t Topology) Apply(ctx context.Context, js jetstream.JetStream, changes []Change) error {
	type key struct {
		kind   Kind
		stream string
		name   string
	}
	todo := map[key]bool{}
	for _, c := range Pending(changes) {
		todo[key{c.Kind, c.Stream, c.Name}] = true
	}
	r := t.wantReplicas(js.Conn())
	var errs []error
	for _, s := range t.streams {
		if todo[key{s.kind, "", s.name}] {
			errs = append(errs, ensureStream(ctx, js, s, r))
		}
	}
	for _, c := range t.consumers {
		if !c.owned && todo[key{KindConsumer, c.stream, c.want.Durable}] {
			errs = append(errs, ensureConsumer(ctx, js, c))
		}
	}
	return errors.Join(errs...)
}

func ensureStream(ctx context.Context, js jetstream.JetStream, s stream, r replicas) error {
	is, err := streamConfig(ctx, js, s.want.Name)
	if err != nil {
		return err
	}
	if is == nil {
		err := createStream(ctx, js, s, r)
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return err
		}
		// Somebody else made it between our look and our try, and not like this.
		if is, err = streamConfig(ctx, js, s.want.Name); err != nil || is == nil {
			return err
		}
	}
	merged, changes := mergeStream(s, *is, r)
	if len(Pending(changes)) == 0 {
		return nil
	}
	if _, err := js.UpdateStream(ctx, merged); err != nil {
		if tooFewServers(err) {
			err = fmt.Errorf("%w (set STREAM_REPLICAS to what the cluster can hold)", err)
		}
		return judge(fmt.Errorf("streams: updating %s %s: %w", s.kind, s.name, err))
	}
	return nil
}

func createStream(ctx context.Context, js jetstream.JetStream, s stream, r replicas) error {
	want := s.want
	want.Replicas = r.n
	_, err := js.CreateStream(ctx, want)
	if r.orOne && tooFewServers(err) {
		want.Replicas = 1
		_, err = js.CreateStream(ctx, want)
	}
	if err != nil {
		return judge(fmt.Errorf("streams: creating %s %s: %w", s.kind, s.name, err))
	}
	return nil
}

func ensureConsumer(ctx context.Context, js jetstream.JetStream, c consumer) error {
	is, err := consumerConfig(ctx, js, c)
	if err != nil {
		return err
	}
	if is == nil {
		_, err := js.CreateConsumer(ctx, c.stream, c.want)
		if err == nil {
			return nil
		}
		if !errors.Is(err, jetstream.ErrConsumerExists) {
			return judge(fmt.Errorf("streams: creating consumer %s on stream %s: %w", c.want.Durable, c.stream, err))
		}
		if is, err = consumerConfig(ctx, js, c); err != nil || is == nil {
			return err
		}
	}
	merged, changes := mergeConsumer(c, *is)
	if len(Pending(changes)) == 0 {
		return nil
	}
	if _, err := js.UpdateConsumer(ctx, c.stream, merged); err != nil {
		return judge(fmt.Errorf("streams: updating consumer %s on stream %s: %w", c.want.Durable, c.stream, err))
	}
	return nil
}
