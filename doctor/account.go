package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/finx-connector/finx-connector/streams"
)

// Shares of a limit that are worth a warning, and that will soon be too much.
const (
	fillWarn = 0.70
	fillFail = 0.95
)

func checkAccount(ctx context.Context, sheet *Sheet, b Broker) bool {
	const remedy = "put `jetstream { store_dir: /data, sync_interval: always }` into the broker's configuration, and `jetstream: enabled` into the account"
	a, err := b.Account(ctx)
	switch {
	case invisible(sheet, GroupNATS, "JetStream", err):
		return true // what is needed of it may be visible all the same
	case err != nil:
		sheet.fail(GroupNATS, "JetStream", "no answer: "+err.Error(),
			"the broker itself answers: look whether most servers of its cluster run and have elected a leader for JetStream (`nats server report jetstream`)")
		return false
	case !a.Enabled:
		sheet.fail(GroupNATS, "JetStream", "it is off, in the server or for this account", remedy)
		return false
	}
	domain := ""
	if a.Domain != "" {
		domain = ", domain " + a.Domain
	}
	sheet.judge(a.Level < streams.LevelSchedules, false, Finding{
		Group: GroupNATS, Check: "JetStream",
		Seen:   fmt.Sprintf("on, API level %d (%d is needed)%s", a.Level, streams.LevelSchedules, domain),
		Remedy: "bring the servers to " + leastServer + " or newer: timers are schedules of the broker",
	})
	checkLimits(sheet, a)
	return true
}

func checkLimits(sheet *Sheet, a streams.Account) {
	var tight, seen []string
	var fail bool
	count := func(what string, used, most int) {
		if most <= 0 {
			return
		}
		seen = append(seen, fmt.Sprintf("%d of %d %s", used, most, what))
		if used >= most {
			tight = append(tight, what)
		}
	}
	count("streams", a.Streams, a.MaxStreams)
	count("consumers", a.Consumers, a.MaxConsumers)
	if a.MaxStore > 0 {
		seen = append(seen, fmt.Sprintf("%s of %s on disk", size(int64(a.Store)), size(a.MaxStore))) //nolint:gosec // far below the end of int64
		share := float64(a.Store) / float64(a.MaxStore)
		fail = share >= fillFail
		if share >= fillWarn {
			tight = append(tight, "disk")
		}
	}
	if a.MaxAckPending > 0 && a.MaxAckPending < streams.DefaultMaxAckPending {
		tight = append(tight, fmt.Sprintf("max_ack_pending (%d, our consumers ask for %d)", a.MaxAckPending, streams.DefaultMaxAckPending))
	}
	text := "the account has none"
	if len(seen) > 0 {
		text = strings.Join(seen, ", ")
	}
	sheet.judge(fail, len(tight) > 0, Finding{
		Group: GroupNATS, Check: "limits", Seen: text + suffix(tight, "; too tight: "),
		Remedy: "raise the limits of the account's JetStream in the broker's configuration",
	})
}

func checkSyncing(ctx context.Context, sheet *Sheet, b Broker) {
	const name, look = "sync_interval", "finx-connector doctor --nats-monitor http://BROKER:8222, or `grep sync_interval` in the broker's configuration: it should be always"
	if b.Syncing == nil {
		sheet.add(Finding{GroupNATS, name, Skip, "skipped: no user of an account is told", look})
		return
	}
	s, err := b.Syncing(ctx)
	if err != nil {
		sheet.fail(GroupNATS, name, err.Error(), look)
		return
	}
	seen := "always"
	if !s.Always {
		seen = fmt.Sprintf("every %s: what was acknowledged since is lost when the power fails", s.Interval)
	}
	sheet.judge(false, !s.Always, Finding{
		Group: GroupNATS, Check: name, Seen: seen,
		Remedy: "set `jetstream { sync_interval: always }` in the configuration of every server and restart them one by one",
	})
}

// checkRights tells whose identity this is: that of serve may do all that serve does,
// an operator's may do none of it. open: the broker lets everybody in, and nobody else
// can reach it.
func checkRights(ctx context.Context, sheet *Sheet, b Broker, open bool) {
	const name = "rights of serve"
	tried, denied, anything, err := b.Rights(ctx)
	switch {
	case err != nil && !invisible(sheet, GroupNATS, name, err):
		sheet.skip(GroupNATS, name, err.Error())
	case err != nil:
	case len(denied) == 0 && open:
		sheet.ok(GroupNATS, name, "all of them, as everybody on this machine has: the broker asks nobody who he is")
	case len(denied) == 0 && anything:
		sheet.warn(GroupNATS, name, "this user may publish to anything: all that serve needs, and more",
			"give serve the connector's permissions of deploy/nats")
	case len(denied) == 0:
		sheet.ok(GroupNATS, name, fmt.Sprintf("this user may publish to all %d kinds of subjects that serve needs", len(tried)))
	case !slices.ContainsFunc(tried, func(s string) bool { return takes(s) && !slices.Contains(denied, s) }):
		sheet.skip(GroupNATS, name, "this is not the user that serve runs as: it may take from no lane; run doctor with the connector's credentials to check them")
	default:
		sheet.fail(GroupNATS, name, "this user may not publish to "+strings.Join(denied, ", "), "allow it: the connector's permissions of deploy/nats have all that serve needs")
	}
}

// takes reports whether a subject asks a consumer for messages, which is for serve alone.
func takes(subject string) bool { return strings.Contains(subject, ".CONSUMER.MSG.NEXT.") }
