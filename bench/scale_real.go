package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/events"
)

// What a scheduled fetch finds: one account, and in the ten days that windows
// overlap some twenty transactions, which is one short page (a page of a round
// number would be followed by the question for another).
const (
	scheduledTransactions = 19
	scheduledPage         = 100
	// accessLifetime is shorter than custody wants, so that each fetch begins with a
	// rotation, as it does when six hours lie between two.
	accessLifetime = 20 * time.Second
)

// stored is how much a stream holds.
type stored struct {
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
}

// realFigures are what the real route brought.
type realFigures struct {
	Connections int                `json:"connections"`
	Held        map[string]stored  `json:"held"`          // by stream, after the callbacks
	PerFetch    map[string]float64 `json:"bytes_a_fetch"` // by stream
	Calls       map[string]float64 `json:"calls_a_fetch"` // "NATS …", "Vault …", "finX …"
	CPU         float64            `json:"cpu_us_a_fetch"`
	RecordBytes int                `json:"record_bytes"`
	SecretBytes int                `json:"secret_bytes"`
	RSS         int64              `json:"rss_bytes"` // of the connector afterwards

	pattern pattern
}

// pattern is what a connection leaves behind, as it was found.
type pattern struct {
	record connection.Record
	secret json.RawMessage
}

// realRoute takes n connections through the sandbox and the real connector, and
// then has each fetched once more, as by its timer.
func (h *harness) realRoute(ctx context.Context, n int) (r realFigures, err error) {
	h.sayf("the real route: %d connections", n)
	s := scenario{Kind: callbacks, Slots: 16, Events: n, Transactions: scheduledTransactions, Page: scheduledPage, accessLifetime: accessLifetime}
	want, err := record(ctx, s)
	if err != nil {
		return r, err
	}
	st, err := h.openStage(ctx, s, want.data)
	defer func() { err = errors.Join(err, st.close()) }()
	if err != nil {
		return r, err
	}
	p, err := st.start(ctx, ours)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	work, err := st.prepare(ctx, ours, n)
	if err == nil {
		_, err = st.handle(ctx, p, work)
	}
	if err == nil {
		err = st.settled(ctx)
	}
	if err != nil {
		return r, err
	}
	r.Connections = n
	if r.Held, err = st.held(ctx); err != nil {
		return r, err
	}
	if err := st.fetchAgain(ctx, p, work, &r); err != nil {
		return r, fmt.Errorf("scheduled fetches: %w", err)
	}
	return r, st.takePattern(ctx, &r)
}

// held is what every stream and bucket holds.
func (st *stage) held(ctx context.Context) (map[string]stored, error) {
	all := map[string]stored{}
	list := st.js.ListStreams(ctx)
	for info := range list.Info() {
		all[info.Config.Name] = stored{info.State.Msgs, info.State.Bytes}
	}
	return all, list.Err()
}

// fetchAgain counts what one scheduled fetch costs.
func (st *stage) fetchAgain(ctx context.Context, p *child, work []callback, r *realFigures) error {
	st.bank.calls.take()
	st.stub.calls.take()
	heard, stop, err := st.listen(ctx)
	if err != nil {
		return err
	}
	before, err := cpu(p.cmd.Process.Pid)
	if err != nil {
		return err
	}
	if err := st.askForFetches(ctx, p, work); err != nil {
		return err
	}
	after, err := cpu(p.cmd.Process.Pid)
	if err != nil {
		return err
	}
	if err := stop(); err != nil {
		return err
	}
	n := float64(len(work))
	r.CPU = (after - before).Seconds() * 1e6 / n
	r.Calls = map[string]float64{}
	for to, kinds := range map[string]map[string]int{"finX": st.bank.calls.take(), "Vault": st.stub.calls.take(), "NATS": heard.take()} {
		for kind, calls := range kinds {
			r.Calls[to+" "+kind] += float64(calls) / n
		}
	}
	now, err := st.held(ctx)
	if err != nil {
		return err
	}
	r.PerFetch = map[string]float64{}
	for name, s := range now {
		r.PerFetch[name] = (float64(s.Bytes) - float64(r.Held[name].Bytes)) / n
	}
	r.RSS, _, err = memory(p.cmd.Process.Pid)
	return err
}

// askForFetches publishes what a timer that came due is turned into, and waits
// until all are done.
func (st *stage) askForFetches(ctx context.Context, p *child, work []callback) error {
	bodies := make([][]byte, 0, len(work))
	for _, c := range work {
		id := events.NewUUID()
		body, err := events.EncodeInput(events.TypeSyncRequested, id, time.Now(), events.Cause{},
			events.SyncRequested{ConnectionID: c.ConnectionID, Trigger: events.TriggerSchedule})
		if err != nil {
			return err
		}
		bodies = append(bodies, body)
	}
	done, err := st.js.Stream(ctx, events.StreamEvents)
	if err != nil {
		return err
	}
	count := func() (uint64, error) {
		info, err := done.Info(ctx, jetstream.WithSubjectFilter(st.codec.Subject(events.TypeFetchCompleted)))
		if err != nil {
			return 0, err
		}
		return info.State.Subjects[st.codec.Subject(events.TypeFetchCompleted)], nil
	}
	had, err := count()
	if err != nil {
		return err
	}
	if err := st.publish(ctx, events.TypeSyncRequested, bodies); err != nil {
		return err
	}
	err = untilEvery(ctx, seldom, p, "the fetches", func() (bool, error) {
		n, err := count()
		return n >= had+uint64(len(work)), err
	})
	if err != nil {
		return err
	}
	return st.settled(ctx)
}

// takePattern reads a record and a secret as the connector left them.
func (st *stage) takePattern(ctx context.Context, r *realFigures) error {
	records, err := connectionkv.New(connectionkv.Config{JS: st.js})
	if err != nil {
		return err
	}
	total, n := 0, 0
	err = records.List(ctx, func(rec connection.Record) error {
		if rec.State != connection.Established {
			return fmt.Errorf("connection %s is %s", rec.ID, rec.State)
		}
		raw, err := connection.Encode(rec)
		total, n, r.pattern.record = total+len(raw), n+1, rec
		return err
	})
	if err != nil {
		return err
	}
	r.RecordBytes = total / n
	st.stub.mu.Lock()
	defer st.stub.mu.Unlock()
	for path, s := range st.stub.secrets {
		if strings.HasSuffix(path, r.pattern.record.ID) {
			r.pattern.secret = s.data
		}
	}
	r.SecretBytes = len(r.pattern.secret)
	if r.SecretBytes == 0 {
		return errors.New("the connection has no secret")
	}
	return nil
}
