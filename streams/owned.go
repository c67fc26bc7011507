package streams

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
)

// diffOwned checks the streams of other teams. Every difference is Manual: they
// are not ours to create or change. Those that are missing are noted in absent.
func (t Topology) diffOwned(ctx context.Context, js jetstream.JetStream, absent map[string]bool) ([]Change, error) {
	var changes []Change
	for _, o := range t.owned {
		is, err := streamConfig(ctx, js, o.name)
		if err != nil {
			return nil, err
		}
		m := &merge{kind: KindStream, name: o.name}
		if is == nil {
			absent[o.name] = false // and what its consumers must look like is still said
			m.manual("", "", "missing, though named in "+o.setting, "create it, or empty the setting and let the connector make its own")
		} else {
			m.ownedStream(o, *is)
		}
		for _, c := range m.changes {
			if !slices.Contains(changes, c) { // a stream that holds several groups is said once
				changes = append(changes, c)
			}
		}
	}
	return changes, nil
}

func (m *merge) ownedStream(o ownedStream, is jetstream.StreamConfig) {
	arrives := func(s string) bool {
		return slices.ContainsFunc(is.Subjects, func(have string) bool { return overlap(have, s) })
	}
	if len(o.anyOf) > 0 && !slices.ContainsFunc(o.anyOf, arrives) {
		m.manual("subjects", list(is.Subjects), list(o.anyOf), remedyOwner+", or correct "+o.setting)
	}
	if lack := missing(is.Subjects, o.allOf); len(lack) > 0 {
		m.manual("subjects", list(is.Subjects), "also "+list(lack), remedyOwner+", or correct "+o.setting)
	}
	if is.Retention != jetstream.LimitsPolicy {
		m.manual("retention", is.Retention.String(), jetstream.LimitsPolicy.String(),
			"with this policy a handled event is gone, and replay, redrive and parked retries read it again: ask its owner")
	}
	if o.input && is.MaxAge > 0 && is.MaxAge < MinRetention {
		m.manual("max_age", is.MaxAge.String(), "at least "+MinRetention.String(), "an outage longer than this loses requests: ask its owner")
	}
	if is.NoAck {
		m.manual("no_ack", "on", "off", "publishing waits for the stream's ack: ask its owner")
	}
	if o.schedules && !is.AllowMsgSchedules {
		m.manual("allow_msg_schedules", "off", "on", "timers are schedules of the broker: ask its owner")
	}
	if o.schedules && !is.AllowMsgTTL {
		m.manual("allow_msg_ttl", "off", "on", "what came due leaves by its TTL: ask its owner")
	}
}

// settingFor returns the setting that binds another team's stream over subject.
func (t Topology) settingFor(subject string) string {
	for _, g := range t.cfg.groups(t.names) {
		if slices.Contains(g.subjects, subject) {
			return g.setting
		}
	}
	return "the settings"
}

// describe says in a line what will be created.
func describe(want jetstream.StreamConfig, r replicas) string {
	copies := fmt.Sprintf("replicas %d", r.n)
	if r.orOne {
		copies += " (1 if the cluster cannot place them)"
	}
	return fmt.Sprintf("subjects %s; %s", list(want.Subjects), copies)
}

// asJSON renders a configuration as the broker's API takes it.
func asJSON(cfg jetstream.ConsumerConfig) string {
	b, err := json.Marshal(cfg)
	if err != nil {
		return fmt.Sprintf("%+v", cfg) // unreachable: the type has no field that cannot be marshalled
	}
	return string(b)
}
