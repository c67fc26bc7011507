package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// wireRow is one kind of call and how often each side makes it for a callback.
type wireRow struct {
	To    string           `json:"to"` // finX, Vault, NATS
	Kind  string           `json:"kind"`
	Calls map[side]float64 `json:"calls"` // for one callback
}

// wireCallbacks are handled while the calls are counted.
const wireCallbacks = 100

// wire counts, on the wire, the calls that a callback makes. It is a run of its
// own, because listening costs the broker something.
func (h *harness) wire(ctx context.Context) ([]wireRow, error) {
	h.sayf("counting calls")
	quiet := *h
	quiet.cfg.vault, quiet.cfg.profile, quiet.cfg.forCallbacks = vaultStub, "", 0 // the stub's calls can be counted
	rows := map[[2]string]*wireRow{}
	for _, who := range h.cfg.sides {
		counts, err := quiet.count(ctx, who)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", who, err)
		}
		for kind, n := range counts {
			row := rows[kind]
			if row == nil {
				row = &wireRow{To: kind[0], Kind: kind[1], Calls: map[side]float64{}}
				rows[kind] = row
			}
			row.Calls[who] = float64(n) / wireCallbacks
		}
	}
	all := make([]wireRow, 0, len(rows))
	for _, row := range rows {
		all = append(all, *row)
	}
	slices.SortFunc(all, func(a, b wireRow) int { return cmp.Or(cmp.Compare(a.To, b.To), cmp.Compare(a.Kind, b.Kind)) })
	return all, nil
}

// count returns how often each kind of call was made for wireCallbacks callbacks.
func (h *harness) count(ctx context.Context, who side) (counts map[[2]string]int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, runWithin, fmt.Errorf("not over within %s", runWithin))
	defer cancel()
	s := scenario{Kind: callbacks, Slots: 16, Events: wireCallbacks, Transactions: callbackTransactions, Page: callbackPage}
	want, err := record(ctx, s)
	if err != nil {
		return nil, err
	}
	st, err := h.openStage(ctx, s, want.data)
	defer func() { err = errors.Join(err, st.close()) }()
	if err != nil {
		return nil, err
	}
	p, err := st.start(ctx, who)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	all, err := st.prepare(ctx, who, s.Slots+s.Events)
	if err != nil {
		return nil, err
	}
	if _, err := st.handle(ctx, p, all[:s.Slots]); err != nil {
		return nil, err
	}
	if err := st.settled(ctx); err != nil {
		return nil, err
	}
	st.bank.calls.take()
	st.stub.calls.take()
	heard, stop, err := st.listen(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := st.handle(ctx, p, all[s.Slots:]); err != nil {
		return nil, err
	}
	if err := st.settled(ctx); err != nil {
		return nil, err
	}
	if err := stop(); err != nil {
		return nil, err
	}
	counts = map[[2]string]int{}
	for to, kinds := range map[string]map[string]int{"finX": st.bank.calls.take(), "Vault": st.stub.calls.take(), "NATS": heard.take()} {
		for kind, n := range kinds {
			counts[[2]string{to, kind}] += n
		}
	}
	return counts, nil
}

// listen counts what is sent to the broker until stop is called.
func (st *stage) listen(ctx context.Context) (heard *counter, stop func() error, err error) {
	heard = &counter{}
	var subs []*nats.Subscription
	for _, subject := range []string{"$JS.>", "$KV.>", "$O.>", "finx.timer.>", "connection.>", "transactions.>"} {
		sub, err := st.nc.Subscribe(subject, func(msg *nats.Msg) {
			if kind := kindOf(msg); kind != "" {
				heard.add(kind)
			}
		})
		if err != nil {
			return nil, nil, err
		}
		subs = append(subs, sub)
	}
	stop = func() error {
		if err := st.nc.FlushWithContext(ctx); err != nil {
			return err
		}
		for _, sub := range subs {
			if err := sub.Drain(); err != nil {
				return err
			}
			drained := sub.StatusChanged(nats.SubscriptionClosed)
			if sub.IsValid() {
				select {
				case <-drained:
				case <-time.After(stopWithin):
					return errors.New("the count does not end")
				}
			}
		}
		return nil
	}
	return heard, stop, st.nc.FlushWithContext(ctx)
}

// kindOf names what a message to the broker is. Empty is the harness itself.
func kindOf(msg *nats.Msg) string {
	api, isAPI := strings.CutPrefix(msg.Subject, "$JS.API.")
	bucket, isKV := strings.CutPrefix(msg.Subject, "$KV.")
	switch {
	case strings.HasPrefix(msg.Subject, "$JS.ACK."):
		word, _, _ := strings.Cut(string(msg.Data), " ")
		return "settle " + cmp.Or(word, "+ACK")
	case strings.HasPrefix(api, "CONSUMER.MSG.NEXT."):
		return "pull"
	case strings.HasPrefix(api, "STREAM.MSG.GET."):
		_, key, found := strings.Cut(string(msg.Data), `"$KV.`)
		if !found {
			return "read of a message"
		}
		return "read of KV " + keyKind(key)
	case isAPI || strings.HasPrefix(msg.Subject, "$JS."):
		return ""
	case isKV && msg.Header.Get("KV-Operation") != "":
		return "delete in KV " + keyKind(bucket)
	case isKV:
		return "write to KV " + keyKind(bucket)
	}
	for _, timer := range []string{"finx.timer.sync", "finx.timer.keepalive"} {
		if strings.HasPrefix(msg.Subject, timer+".") {
			return "timer " + timer
		}
	}
	return "publish " + msg.Subject
}

// keyKind names a bucket and the first token of the key: finx_leases fetch.
func keyKind(key string) string {
	parts := strings.SplitN(key, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], " ")
}

// sum adds the calls of all kinds to one server.
func sum(rows []wireRow, to string, who side) float64 {
	total := 0.0
	for _, row := range rows {
		if row.To == to {
			total += row.Calls[who]
		}
	}
	return total
}

// servers are those that are called, in the order of the table.
func servers(rows []wireRow) []string {
	set := map[string]bool{}
	for _, row := range rows {
		set[row.To] = true
	}
	return slices.Sorted(maps.Keys(set))
}
