package streams

import (
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// mergeConsumer is mergeStream for a consumer.
func mergeConsumer(c consumer, is jetstream.ConsumerConfig) (jetstream.ConsumerConfig, []Change) {
	m := &merge{kind: KindConsumer, name: c.want.Durable, stream: c.stream}
	want := c.want
	m.filters(&is, want)
	if len(is.BackOff) == 0 { // with one the broker puts its first step in the place of AckWait
		m.raiseWindow("ack_wait", &is.AckWait, want.AckWait)
	}
	unbound(m, "max_deliver", &is.MaxDeliver, want.MaxDeliver)
	if is.MaxAckPending > 0 && is.MaxAckPending < want.MaxAckPending {
		m.update("max_ack_pending", fmt.Sprint(is.MaxAckPending), fmt.Sprint(want.MaxAckPending))
		is.MaxAckPending = want.MaxAckPending
	}
	if is.InactiveThreshold > 0 {
		// With it the broker deletes even a durable when nobody pulls for a while.
		m.update("inactive_threshold", is.InactiveThreshold.String(), "none")
		is.InactiveThreshold = 0
	}
	if is.AckPolicy != want.AckPolicy {
		m.manual("ack_policy", is.AckPolicy.String(), want.AckPolicy.String(), remedyImmutable)
	}
	if is.DeliverPolicy != want.DeliverPolicy {
		m.manual("deliver_policy", is.DeliverPolicy.String(), want.DeliverPolicy.String(), remedyImmutable)
	}
	if is.DeliverSubject != "" {
		m.manual("deliver_subject", is.DeliverSubject, "none (pull)", remedyImmutable)
	}
	if len(is.BackOff) > 0 {
		m.manual("backoff", fmt.Sprint(is.BackOff), "none", "it distorts the delays the connector asks for: take it away")
	}
	m.mustBeOff("headers_only", is.HeadersOnly, want.HeadersOnly, "the connector reads the payload: set it off")
	m.mustBeOff("mem_storage", is.MemoryStorage, want.MemoryStorage, remedyImmutable)
	return is, m.changes
}

// filters adds missing filter subjects and reports those that feed a lane with
// what it does not understand. Taking a filter away is a human's decision.
func (m *merge) filters(is *jetstream.ConsumerConfig, want jetstream.ConsumerConfig) {
	have, need := filtersOf(*is), filtersOf(want)
	for _, h := range have {
		if !coveredByAny(need, h) {
			m.manual("filter_subjects", list(have), list(need), h+" feeds the lane with what it cannot read: take it away by hand")
			return
		}
	}
	if len(have) == 0 {
		m.manual("filter_subjects", "none", list(need), "without a filter the lane gets the whole stream: set it by hand")
		return
	}
	if len(missing(have, need)) == 0 {
		return
	}
	all := union(have, need)
	m.update("filter_subjects", list(have), list(all))
	is.FilterSubject, is.FilterSubjects = "", all
	if len(all) == 1 {
		is.FilterSubject, is.FilterSubjects = all[0], nil
	}
}

func filtersOf(c jetstream.ConsumerConfig) []string {
	if c.FilterSubject != "" {
		return []string{c.FilterSubject}
	}
	return c.FilterSubjects
}
