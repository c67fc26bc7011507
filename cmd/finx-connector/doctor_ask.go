package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/app"
	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/dlq"
	"github.com/finx-connector/finx-connector/doctor"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/natsconn"
	"github.com/finx-connector/finx-connector/internal/streamread"
	"github.com/finx-connector/finx-connector/settings"
	"github.com/finx-connector/finx-connector/streams"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// examination asks the servers for doctor, each with the client that serve uses.
type examination struct {
	settings   settings.Settings
	limit      time.Duration
	monitor    string
	complaints natsconn.Complaints
	nc         *nats.Conn
	js         jetstream.JetStream
}

func (e *examination) close() {
	if e.nc != nil {
		e.nc.Close()
	}
}

// broker returns the questions to NATS. A subject that is forbidden ends each at once.
func (e *examination) broker() doctor.Broker {
	topology := app.Topology(e.settings)
	b := doctor.Broker{
		Addresses: func(ctx context.Context) []natsconn.Address {
			ctx, cancel := context.WithTimeout(ctx, e.limit/4)
			defer cancel()
			return natsconn.Reach(ctx, e.settings.NATS.URL.Reveal())
		},
		Connect: e.connect,
		Account: answer(e, func(ctx context.Context) (streams.Account, error) { return topology.Account(ctx, e.js) }),
		Diff:    answer(e, func(ctx context.Context) ([]streams.Change, error) { return topology.Diff(ctx, e.js) }),
		Health: func(ctx context.Context) ([]streams.StreamHealth, []streams.ConsumerHealth, []error) {
			return topology.Health(ctx, e.js, e.complaints.During)
		},
		Rights: func(ctx context.Context) (tried, denied []string, anything bool, err error) {
			tried = topology.ServeSubjects()
			denied, anything, err = natsconn.Rights(ctx, e.nc, topology.TraceSubjects(), tried)
			return tried, denied, anything, err
		},
		Shared: answer(e, func(ctx context.Context) (connectionkv.Shared, error) { return connectionkv.Survey(ctx, e.js, e.limit) }),
		Letters: func(ctx context.Context) (byClass map[string]int, whole bool, err error) {
			err = e.complaints.During(ctx, func(ctx context.Context) error {
				byClass, whole, err = e.letters(ctx)
				return err
			})
			return byClass, whole, err
		},
	}
	if e.monitor != "" {
		b.Syncing = func(ctx context.Context) (natsconn.Syncing, error) { return natsconn.AskMonitor(ctx, e.monitor) }
	}
	return b
}

// answer makes a question one that a forbidden subject ends.
func answer[T any](e *examination, question func(context.Context) (T, error)) func(context.Context) (T, error) {
	return func(ctx context.Context) (found T, err error) {
		err = e.complaints.During(ctx, func(ctx context.Context) error {
			found, err = question(ctx)
			return err
		})
		return found, err
	}
}

// connect tries once, where serve would go on trying.
func (e *examination) connect(ctx context.Context) (natsconn.Facts, error) {
	cfg := app.NATSConfig(e.settings)
	cfg.Name, cfg.Logger, cfg.OnState = "finx-connector-doctor", slog.New(slog.DiscardHandler), e.complaints.Observe
	type dialled struct {
		nc  *nats.Conn
		err error
	}
	done := make(chan dialled, 1)
	go func() {
		// Whichever of the addresses answers is to be found in half of the time, the other
		// half is for the questions.
		each := e.limit / time.Duration(2*(1+strings.Count(e.settings.NATS.URL.Reveal(), ",")))
		nc, err := natsconn.Connect(cfg.Once(each))
		done <- dialled{nc, err}
	}()
	select {
	case d := <-done:
		if d.err != nil {
			return natsconn.Facts{}, d.err
		}
		e.nc = d.nc
	case <-ctx.Done():
		go func() { // it ends by its own time-out
			if d := <-done; d.nc != nil {
				d.nc.Close()
			}
		}()
		return natsconn.Facts{}, fmt.Errorf("no connection within %s", e.limit)
	}
	var err error
	if e.js, err = jetstream.New(e.nc, jetstream.WithDefaultTimeout(e.limit)); err != nil {
		return natsconn.Facts{}, err
	}
	return natsconn.Look(ctx, e.nc)
}

// lettersMost bounds how many dead letters are read to count their classes.
const lettersMost = 1000

// letters counts the dead letters by class, the oldest ones where there are many. It
// gets them one by one: whatever else reads a stream leaves a consumer behind.
func (e *examination) letters(ctx context.Context) (byClass map[string]int, whole bool, err error) {
	byClass = map[string]int{}
	stream, err := e.js.Stream(ctx, e.settings.Streams.DLQ)
	if err != nil {
		return nil, false, err
	}
	state, subject := stream.CachedInfo().State, app.Codec(e.settings).Subject(events.SubjectDLQ)+".>"
	sequence := state.FirstSeq
	for range lettersMost {
		if state.Msgs == 0 || sequence > state.LastSeq {
			return byClass, true, nil
		}
		m, err := streamread.Next(ctx, e.js, e.settings.Streams.DLQ, subject, sequence)
		if errors.Is(err, streamread.ErrNotFound) {
			return byClass, true, nil
		}
		if err != nil {
			return byClass, false, err
		}
		byClass[string(dlq.Read(events.Message{Subject: m.Subject, Header: m.Header}).Reason)]++
		sequence = m.Sequence + 1
	}
	return byClass, sequence > state.LastSeq, nil
}

func (e *examination) vault(ctx context.Context) (vaultstore.Diagnosis, error) {
	cfg := app.VaultConfig(e.settings)
	if cfg.Timeout == 0 {
		cfg.Timeout = min(vaultstore.DefaultTimeout, e.limit)
	}
	store, err := vaultstore.New(cfg)
	if err != nil {
		return vaultstore.Diagnosis{}, err
	}
	defer store.Close()
	return store.Diagnose(ctx), nil
}

func (e *examination) finX(ctx context.Context) (finx.Diagnosis, error) {
	cfg := app.FinXConfig(e.settings)
	cfg.UserAgent = "finx-connector/" + buildVersion().Version
	client, err := finx.New(cfg)
	if err != nil {
		return finx.Diagnosis{}, err
	}
	defer client.CloseIdle()
	return client.Diagnose(ctx), nil
}

// listenOnce tries whether addr could be listened on.
func listenOnce(ctx context.Context, addr string) (bool, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return false, err
	}
	return true, l.Close()
}

func isInUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }
