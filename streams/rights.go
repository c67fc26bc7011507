package streams

import (
	"slices"

	"github.com/finx-connector/finx-connector/events"
)

// ServeSubjects returns what serve publishes to, one subject of each kind, each in a
// form that does nothing to the server should it be handed one without a body: for
// natsconn.Rights. API subjects stand under js's prefix or domain only when that is
// the default.
func (t Topology) ServeSubjects() []string {
	const one = "00000000-0000-0000-0000-000000000000"
	c := t.cfg
	var all []string
	add := func(subjects ...string) { all = append(all, subjects...) }
	for _, typ := range events.OutputTypes() {
		if typ == events.TypeReplayCompleted {
			continue // which operators publish
		}
		subject := c.Codec.Subject(typ)
		if c.PerConnection {
			subject += "." + one
		}
		add(subject)
	}
	add(c.Codec.Subject(events.TypeSyncRequested), c.Codec.Subject(events.SubjectTimer)+".doctor")
	for _, typ := range events.InputTypes() {
		add(c.Codec.Subject(events.SubjectDLQ + "." + typ))
	}
	for _, consumer := range t.consumers {
		if consumer.want.Durable == DurableErasures {
			continue // nobody takes from it yet
		}
		at := consumer.stream + "." + consumer.want.Durable
		// An acknowledgement has five tokens more, so this one is nobody's.
		add("$JS.API.CONSUMER.INFO."+at, "$JS.API.CONSUMER.MSG.NEXT."+at, "$JS.ACK."+at+".doctor", "$JS.API.STREAM.MSG.GET."+consumer.stream)
	}
	for bucket, key := range map[string]string{
		BucketConnections: "connection." + one, BucketLeases: "doctor", BucketControl: "breaker.doctor", BucketEscrow: one + ".doctor",
	} {
		add("$KV."+bucket+"."+key, "$JS.API.STREAM.INFO."+keyValuePrefix+bucket, "$JS.API.STREAM.MSG.GET."+keyValuePrefix+bucket)
	}
	add("$O."+ObjectsOversize+".C.doctor", "$O."+ObjectsOversize+".M.doctor", "$JS.API.STREAM.INFO."+objectsPrefix+ObjectsOversize)
	slices.Sort(all)
	return slices.Compact(all)
}

// TraceSubjects returns questions that the broker answers to whoever may see the
// topology or a part of it, for natsconn.Rights.
func (t Topology) TraceSubjects() []string {
	all := []string{"$JS.API.STREAM.INFO." + t.names.Events}
	for _, c := range t.consumers {
		all = append(all, "$JS.API.CONSUMER.INFO."+c.stream+"."+c.want.Durable)
	}
	return append(all, "$JS.API.INFO")
}
