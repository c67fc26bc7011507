package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/finx-connector/finx-connector/streams"
)

// runWithin bounds one run of one side, which takes seconds: what is not over by
// then hangs.
const runWithin = 10 * time.Minute

// measure runs one side once, on a stage of its own, and checks what came out.
func (h *harness) measure(ctx context.Context, s scenario, who side, want truth) (got sample, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, runWithin, fmt.Errorf("not over within %s", runWithin))
	defer cancel()
	st, err := h.openStage(ctx, s, want.data)
	defer func() { err = errors.Join(err, st.close()) }()
	if err != nil {
		return got, err
	}
	p, err := st.start(ctx, who)
	if err != nil {
		return got, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	pid := p.cmd.Process.Pid
	if got.Rest, _, err = memory(pid); err != nil {
		return got, err
	}
	warm := 0
	if s.Kind == callbacks {
		warm = 2 * s.Slots
	}
	all, err := st.prepare(ctx, who, warm+s.Events)
	if err != nil {
		return got, fmt.Errorf("preparing connections: %w", err)
	}
	if _, err = st.handle(ctx, p, all[:warm]); err != nil {
		return got, err
	}
	if err := st.clock(ctx, p, who, all[warm:], &got); err != nil {
		return got, err
	}
	return got, st.checkAll(ctx, all, want.digest)
}

// clock is the part that is timed.
func (st *stage) clock(ctx context.Context, p *child, who side, work []callback, got *sample) error {
	pid := p.cmd.Process.Pid
	if err := resetPeak(pid); err != nil {
		return err
	}
	profiled := who == ours && st.h.cfg.profile != ""
	if profiled {
		if err := p.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
			return err
		}
	}
	before, err := cpu(pid)
	if err != nil {
		return err
	}
	took, err := st.handle(ctx, p, work)
	if err != nil {
		return err
	}
	if err := st.settled(ctx); err != nil {
		return err
	}
	after, err := cpu(pid)
	if err != nil {
		return err
	}
	got.Seconds, got.CPU = took.Seconds(), (after - before).Seconds()
	_, got.Peak, err = memory(pid)
	if profiled {
		err = errors.Join(err, p.cmd.Process.Signal(syscall.SIGUSR2))
	}
	return err
}

// start starts a side and waits until it can take work.
func (st *stage) start(ctx context.Context, who side) (*child, error) {
	if who != ours {
		args := []string{"-form", string(who)}
		if st.h.cfg.sabotage {
			args = append(args, "-drop")
		}
		p, err := startChild(st.h.floor, args, st.env)
		if err != nil {
			return nil, err
		}
		if _, err := p.ready(ctx); err != nil {
			return nil, errors.Join(err, p.stop())
		}
		return p, nil
	}
	if st.h.cfg.profile != "" {
		name := fmt.Sprintf("%s-%d-%s.pprof", st.s.Kind, st.s.Slots, st.s.Latency)
		st.env["CPU_PROFILE"] = filepath.Join(st.h.cfg.profile, name)
	}
	p, err := startChild(st.h.ours, []string{"serve"}, st.env)
	if err != nil {
		return nil, err
	}
	if err := st.waitReady(ctx, p); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// waitReady asks /readyz until it says yes.
func (st *stage) waitReady(ctx context.Context, p *child) error {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	return until(ctx, p, "the connector to get ready", func() (bool, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+st.env["LISTEN_ADDR"]+"/readyz", http.NoBody)
		if err != nil {
			return false, err
		}
		resp, err := client.Do(r)
		if err != nil {
			return false, nil //nolint:nilerr // it does not listen yet
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK, nil
	})
}

// settled waits until every delivery has been acknowledged: that work belongs to
// the run as well.
func (st *stage) settled(ctx context.Context) error {
	for _, c := range []struct{ stream, durable string }{
		{settingsStreams().Callbacks, streams.DurableCallbacks}, {settingsStreams().Syncs, streams.DurableSyncs},
	} {
		consumer, err := st.js.Consumer(ctx, c.stream, c.durable)
		if err != nil {
			return fmt.Errorf("looking at %s: %w", c.durable, err)
		}
		err = until(ctx, nil, c.durable+" to be acknowledged", func() (bool, error) {
			info, err := consumer.Info(ctx)
			if err != nil {
				return false, err
			}
			return info.NumAckPending == 0 && info.NumPending == 0, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// until asks every few milliseconds. p is the process without which there is no
// point in asking, or nil.
func until(ctx context.Context, p *child, what string, ask func() (bool, error)) error {
	return untilEvery(ctx, 10*time.Millisecond, p, what, ask)
}

// seldom is how often those are asked whom asking costs something.
const seldom = 100 * time.Millisecond

func untilEvery(ctx context.Context, every time.Duration, p *child, what string, ask func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var ended <-chan struct{}
	if p != nil {
		ended = p.done
	}
	for {
		if ok, err := ask(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ended:
			return fmt.Errorf("waiting for %s: the process ended: %s", what, p.said)
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		}
	}
}

// settingsStreams are the streams under their usual names.
func settingsStreams() streams.Names { return streams.Plan(streams.Config{}).Names() }

// isTrouble reports an event that no run may bring.
func isTrouble(subject string) bool {
	return strings.HasPrefix(subject, "dlq.") || strings.HasSuffix(subject, ".failed")
}
