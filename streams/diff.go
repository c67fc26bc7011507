package streams

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Diff compares what is on the broker with the topology. An empty result means
// there is nothing to do; Pending and Left tell what Apply would do from what a
// human has to. It changes nothing. The error is the broker's (no answer, no
// permission), never a difference.
func (t Topology) Diff(ctx context.Context, js jetstream.JetStream) ([]Change, error) {
	r := t.wantReplicas(js.Conn())
	var changes []Change
	absent := map[string]bool{} // streams that are missing; true when they cannot be made either
	for _, s := range t.streams {
		found, err := t.diffStream(ctx, js, s, r)
		if err != nil {
			return nil, err
		}
		for _, c := range found {
			if c.Field == "" {
				absent[s.want.Name] = c.Action == Manual
			}
		}
		changes = append(changes, found...)
	}
	owned, err := t.diffOwned(ctx, js, absent)
	if err != nil {
		return nil, err
	}
	changes = append(changes, owned...)
	for _, c := range t.consumers {
		blocked, missing := absent[c.stream]
		if blocked {
			continue // the stream's own line says what to do first
		}
		found, err := t.diffConsumer(ctx, js, c, missing)
		if err != nil {
			return nil, err
		}
		changes = append(changes, found...)
	}
	return changes, nil
}

func (t Topology) diffStream(ctx context.Context, js jetstream.JetStream, s stream, r replicas) ([]Change, error) {
	is, err := streamConfig(ctx, js, s.want.Name)
	if err != nil {
		return nil, err
	}
	if is != nil {
		_, changes := mergeStream(s, *is, r)
		return changes, nil
	}
	other, subject, err := occupied(ctx, js, s.want)
	if err != nil {
		return nil, err
	}
	if other != "" {
		return []Change{{
			Action: Manual, Kind: s.kind, Name: s.name, Want: "to be created",
			Remedy: fmt.Sprintf("stream %s already holds %s: name it in %s, or take the subject from it", other, subject, t.settingFor(subject)),
		}}, nil
	}
	want := s.want
	want.Replicas = r.n
	return []Change{{Action: Create, Kind: s.kind, Name: s.name, Want: describe(want, r)}}, nil
}

func (t Topology) diffConsumer(ctx context.Context, js jetstream.JetStream, c consumer, streamMissing bool) ([]Change, error) {
	create := Change{Action: Create, Kind: KindConsumer, Name: c.want.Durable, Stream: c.stream, Want: "filter " + list(filtersOf(c.want))}
	if c.owned {
		create.Action, create.Remedy = Manual, remedyOwner+" for a durable pull consumer with exactly this configuration: "+asJSON(c.want)
	}
	if streamMissing {
		return []Change{create}, nil
	}
	is, err := consumerConfig(ctx, js, c)
	if err != nil {
		return nil, err
	}
	if is == nil {
		return []Change{create}, nil
	}
	_, changes := mergeConsumer(c, *is)
	if c.owned {
		for i := range changes {
			changes[i].Action, changes[i].Remedy = Manual, remedyOwner
		}
	}
	return changes, nil
}

// streamConfig returns the configuration of a stream, nil when there is none.
func streamConfig(ctx context.Context, js jetstream.JetStream, name string) (*jetstream.StreamConfig, error) {
	s, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, judge(fmt.Errorf("streams: reading stream %s: %w", name, err))
	}
	return &s.CachedInfo().Config, nil
}

// consumerConfig returns the configuration of a consumer, nil when there is
// none, also of a push consumer that stands in our consumer's place.
func consumerConfig(ctx context.Context, js jetstream.JetStream, c consumer) (*jetstream.ConsumerConfig, error) {
	name := c.want.Durable
	pull, err := js.Consumer(ctx, c.stream, name)
	if errors.Is(err, jetstream.ErrNotPullConsumer) {
		push, perr := js.PushConsumer(ctx, c.stream, name)
		if perr != nil {
			return nil, judge(fmt.Errorf("streams: reading consumer %s of stream %s: %w", name, c.stream, perr))
		}
		return &push.CachedInfo().Config, nil
	}
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, judge(fmt.Errorf("streams: reading consumer %s of stream %s: %w", name, c.stream, err))
	}
	return &pull.CachedInfo().Config, nil
}

// occupied returns a stream that already holds a subject of want, and which.
func occupied(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) (name, subject string, err error) {
	for _, subject := range want.Subjects {
		lister := js.StreamNames(ctx, jetstream.WithStreamListSubject(subject))
		for name := range lister.Name() {
			if name != want.Name {
				return name, subject, nil
			}
		}
		if err := lister.Err(); err != nil {
			return "", "", judge(fmt.Errorf("streams: looking for the stream of %s: %w", subject, err))
		}
	}
	return "", "", nil
}
