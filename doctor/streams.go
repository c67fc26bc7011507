package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/finx-connector/finx-connector/internal/natsconn"
	"github.com/finx-connector/finx-connector/streams"
)

const (
	applyRemedy  = "finx-connector streams apply"
	brokerRemedy = "mend what the broker says; `nats server report jetstream` shows its state"
)

func checkStreams(ctx context.Context, sheet *Sheet, b Broker) {
	changes, err := b.Diff(ctx)
	switch {
	case err == nil:
		judgeChanges(sheet, changes)
	case invisible(sheet, GroupStreams, "configuration", err):
	default:
		sheet.fail(GroupStreams, "configuration", err.Error(), brokerRemedy)
	}
	found, consumers, errs := b.Health(ctx)
	for _, s := range found {
		judgeStream(sheet, s)
	}
	for _, c := range consumers {
		judgeConsumer(sheet, c)
	}
	judgeCopies(sheet, found)
	var hidden []string
	for _, err := range errs {
		if errors.Is(err, natsconn.ErrForbidden) {
			hidden = append(hidden, refused(err))
			continue
		}
		sheet.fail(GroupStreams, "health", err.Error(), brokerRemedy)
	}
	if len(hidden) > 0 {
		sheet.hidden(GroupStreams, "health", hidden...)
	}
}

// judgeChanges says what differs from what is needed: what is missing in one line,
// everything else in one each.
func judgeChanges(sheet *Sheet, changes []streams.Change) {
	if len(changes) == 0 {
		sheet.ok(GroupStreams, "configuration", "streams, consumers and buckets are as needed")
		return
	}
	var missing []string
	for _, c := range changes {
		name := string(c.Kind) + " " + c.Name
		if c.Stream != "" {
			name += " on " + c.Stream
		}
		if c.Action == streams.Create {
			missing = append(missing, name)
			continue
		}
		remedy := applyRemedy
		if c.Action == streams.Manual {
			remedy = c.Remedy
		}
		seen := c.Field + " is " + c.Is + ", want " + c.Want
		if c.Field == "" {
			seen = c.Want
		}
		sheet.judge(!slices.Contains(tolerable(), c.Field), true, Finding{Group: GroupStreams, Check: name, Seen: seen, Remedy: remedy})
	}
	if len(missing) > 0 {
		sheet.fail(GroupStreams, "missing", strings.Join(missing, ", "), applyRemedy)
	}
}

// tolerable are the fields in which a difference loses nothing by itself.
func tolerable() []string {
	return []string{"num_replicas", "max_age", "max_bytes", "compression", "allow_direct"}
}

func judgeCopies(sheet *Sheet, found []streams.StreamHealth) {
	var single []string
	clustered := false
	for _, s := range found {
		if s.Replicas < 2 {
			single = append(single, s.Name)
		}
		clustered = clustered || s.Cluster != ""
	}
	if len(single) == 0 {
		return
	}
	if !clustered {
		sheet.ok(GroupStreams, "copies", "one of everything: this is a single server, and what is on its disk is all there is; production wants three")
		return
	}
	sheet.warn(GroupStreams, "copies", fmt.Sprintf("one only, on a cluster, of %s: with its server they are away, and lost with its disk", strings.Join(single, ", ")),
		"STREAM_REPLICAS=3 finx-connector streams apply")
}

func judgeStream(sheet *Sheet, s streams.StreamHealth) {
	sheet.clock(Reading{Of: "NATS", Server: s.At, Ours: s.Heard})
	f := Finding{Group: GroupStreams, Check: s.Name, Seen: fmt.Sprintf("%d messages, %s", s.Messages, size(int64(s.Bytes)))} //nolint:gosec // far below the end of int64
	if !s.Oldest.IsZero() {
		f.Seen += ", the oldest " + age(s.At.Sub(s.Oldest))
	}
	full := 0.0
	if s.MaxBytes > 0 {
		full = float64(s.Bytes) / float64(s.MaxBytes)
		f.Seen += fmt.Sprintf(", %.0f %% of max_bytes", 100*full)
	}
	if s.Replicas > 1 {
		f.Seen += fmt.Sprintf(", %d copies", s.Replicas)
	}
	peersSeen, peersRemedy := peers(s.Peers)
	switch {
	case peersSeen != "":
		f.Seen, f.Remedy = f.Seen+": "+peersSeen, peersRemedy
	case s.Lost > 0:
		f.Seen += fmt.Sprintf(": the store has lost %d of them", s.Lost)
		f.Remedy = "`nats stream info " + s.Name + "`; stop the server with the damaged copy, clear its store and let it copy anew"
	case full >= fillWarn:
		f.Remedy = "raise STREAM_MAX_BYTES, then " + applyRemedy + "; full, it refuses every publisher"
	}
	sheet.judge(s.Peers.Leaderless || s.Lost > 0 || full >= fillFail, peersSeen != "" || full >= fillWarn, f)
}

// peers says what is wrong with the copies, "" when nothing is.
func peers(p streams.Peers) (seen, remedy string) {
	switch {
	case p.Leaderless:
		return "nobody leads it" + suffix(p.Offline, ", offline: "), "start the servers that are down: `nats server report jetstream` shows them"
	case len(p.Offline) > 0:
		return "offline: " + strings.Join(p.Offline, ", "), "start those servers; one more down and it stands still"
	case len(p.Lagging) > 0:
		return "behind: " + strings.Join(p.Lagging, ", "), "wait and look again; `nats stream info` shows whether the lag shrinks"
	}
	return "", ""
}

// waitsTooLong is how old the oldest event may be before somebody should look.
const waitsTooLong = 10 * time.Minute

func judgeConsumer(sheet *Sheet, c streams.ConsumerHealth) {
	f := Finding{Group: GroupStreams, Check: c.Name, Seen: fmt.Sprintf("%d wait, %d in work, %d of them delivered again, %d pulls open", c.Pending, c.AckPending, c.Redelivered, c.Waiting)}
	var waits time.Duration
	if !c.Oldest.IsZero() {
		waits = c.At.Sub(c.Oldest)
		f.Seen += ", the oldest " + age(waits)
	}
	peersSeen, peersRemedy := peers(c.Peers)
	near := c.MaxAckPending > 0 && float64(c.AckPending) >= fillWarn*float64(c.MaxAckPending)
	dying := c.MaxAge > 0 && waits > c.MaxAge/2
	switch {
	case peersSeen != "":
		f.Seen, f.Remedy = f.Seen+": "+peersSeen, peersRemedy
	case dying:
		f.Seen += fmt.Sprintf(": its stream drops what is older than %s", c.MaxAge)
		f.Remedy = "see to it that serve takes it, or raise STREAM_MAX_AGE and " + applyRemedy
	case c.Paused > 0:
		f.Seen += fmt.Sprintf(": somebody has paused it for another %s", c.Paused.Round(time.Second))
		f.Remedy = "nats consumer resume " + c.Stream + " " + c.Name
	case near:
		f.Seen += fmt.Sprintf(": max_ack_pending is %d, and then it gives nothing more", c.MaxAckPending)
		f.Remedy = "find out what serve waits for (/readyz); its log names each delivery"
	case waits > waitsTooLong && c.Waiting == 0 && c.AckPending == 0:
		f.Seen += ": nobody takes them"
		f.Remedy = "start finx-connector serve; if it runs, /readyz says why the lane is shut"
	case waits > waitsTooLong:
		f.Seen += ": it has waited long"
		f.Remedy = "look whether a dependency is away (below, and /readyz); `finx-connector dlq list` shows what was given up"
	}
	sheet.judge(c.Peers.Leaderless || dying || c.MaxAckPending > 0 && c.AckPending >= c.MaxAckPending,
		f.Remedy != "", f)
}
