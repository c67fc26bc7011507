package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/internal/guard"
)

// escrowPatience is how long an answer may be on its way from escrow to Vault.
const escrowPatience = 2 * time.Minute

// checkState looks at what the replicas share, and at what they gave up.
func checkState(ctx context.Context, sheet *Sheet, b Broker) {
	shared, err := b.Shared(ctx)
	switch {
	case err == nil:
		judgeBreakers(sheet, shared.Breakers)
		judgeReplicas(sheet, shared.Replicas)
		judgeEscrow(sheet, shared)
	case invisible(sheet, GroupState, "shared state", err):
	default:
		sheet.skip(GroupState, "shared state", err.Error())
	}
	letters, whole, err := b.Letters(ctx)
	switch {
	case err == nil:
		judgeLetters(sheet, letters, whole)
	case invisible(sheet, GroupState, "dead letters", err):
	default:
		sheet.skip(GroupState, "dead letters", err.Error())
	}
}

func judgeBreakers(sheet *Sheet, breakers map[string][]byte) {
	open := 0
	for _, server := range slices.Sorted(maps.Keys(breakers)) {
		s, err := guard.ReadStatus(breakers[server])
		switch {
		case err != nil:
			open++
			sheet.warn(GroupState, "breaker of "+server, "cannot be read: "+err.Error(), "nats kv del finx_control breaker."+server)
		case s.Open:
			open++
			until := ", until " + s.Until.UTC().Format(time.RFC3339)
			if s.Probing || !time.Now().Before(s.Until) {
				until = " and is being asked again"
			}
			sheet.warn(GroupState, "breaker of "+server,
				fmt.Sprintf("it is left alone since %s%s: %s", s.Since.UTC().Format(time.RFC3339), until, s.Why),
				"mend the server; it is asked again by itself (at once: nats kv del finx_control breaker."+server+")")
		case s.Probation:
			open++
			sheet.ok(GroupState, "breaker of "+server, "it says that it works again, and is asked with one call at a time until one goes well")
		}
	}
	if open == 0 {
		sheet.ok(GroupState, "breakers", "none is open: no server is left alone")
	}
}

func judgeReplicas(sheet *Sheet, replicas []connectionkv.Replica) {
	if len(replicas) == 0 {
		sheet.ok(GroupState, "replicas", "no finx-connector serve is live")
		return
	}
	versions := map[string]int{}
	for _, r := range replicas {
		if r.Version == "" {
			r.Version = "unknown"
		}
		versions[r.Version]++
	}
	var each []string
	for _, v := range slices.Sorted(maps.Keys(versions)) {
		each = append(each, fmt.Sprintf("%d of version %s", versions[v], v))
	}
	sheet.judge(false, len(versions) > 1, Finding{
		Group: GroupState, Check: "replicas", Seen: fmt.Sprintf("%d live: %s", len(replicas), strings.Join(each, ", ")),
		Remedy: "bring them all to one version, once the update that is under way has ended",
	})
}

func judgeEscrow(sheet *Sheet, shared connectionkv.Shared) {
	if shared.Waiting == 0 {
		sheet.ok(GroupState, "escrow", "no sealed answer waits for Vault")
		return
	}
	waits := time.Since(shared.Oldest)
	sheet.judge(waits > escrowPatience, true, Finding{
		Group: GroupState, Check: "escrow", Seen: fmt.Sprintf("%d sealed answers wait for Vault, the oldest %s", shared.Waiting, age(waits)),
		Remedy: "mend Vault and keep serve running: any replica brings them home; the log of serve says of those it cannot open which key it lacks",
	})
}

func judgeLetters(sheet *Sheet, byClass map[string]int, whole bool) {
	var each []string
	for _, class := range slices.Sorted(maps.Keys(byClass)) {
		if byClass[class] > 0 {
			each = append(each, fmt.Sprintf("%d %s", byClass[class], class))
		}
	}
	if len(each) == 0 {
		sheet.ok(GroupState, "dead letters", "none")
		return
	}
	if !whole {
		each = append(each, "and more that were not counted")
	}
	sheet.warn(GroupState, "dead letters", strings.Join(each, ", "),
		"finx-connector dlq list; then dlq redrive what has been mended, and dlq discard what is not wanted")
}
