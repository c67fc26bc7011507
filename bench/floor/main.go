// Floor does the connector's job on a good day and nothing else: no second
// attempt, no heartbeat, no journal, no state, no metric, no check of what it
// reads. It shows what the calls themselves cost on this machine, and so what
// everything else in the connector costs.
//
// In the form bare it makes the calls that the job cannot do without. In the
// form same it makes every call that the connector makes, in the same order, and
// still decides nothing: the difference between bare and same is the price of
// safety, that between same and the connector the price of its code.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

// floor is what all callbacks share.
type floor struct {
	js      jetstream.JetStream
	http    *http.Client
	finx    string // base URLs
	vault   string
	token   string // of Vault
	id      string
	secret  string
	page    int
	drop    bool // lose the first transaction, to be found out
	buffers sync.Pool
}

func run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("floor", flag.ContinueOnError)
	form := fs.String("form", "bare", "bare or same")
	drop := fs.Bool("drop", false, "lose a transaction of each account, to see that somebody notices")
	if err := fs.Parse(args); err != nil {
		return err
	}
	callbacks, err := number("CALLBACK_CONCURRENCY")
	if err != nil {
		return err
	}
	syncs, err := number("SYNC_CONCURRENCY")
	if err != nil {
		return err
	}
	page, err := number("PAGE_SIZE")
	if err != nil {
		return err
	}
	nc, err := nats.Connect(os.Getenv("NATS_URL"))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	f := &floor{
		js: js, page: page, drop: *drop,
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: callbacks + syncs, MaxIdleConns: 4 * (callbacks + syncs)}},
		finx: os.Getenv("FINX_BASE_URL"), id: os.Getenv("FINX_CLIENT_ID"), secret: os.Getenv("FINX_CLIENT_SECRET"),
		vault: os.Getenv("VAULT_ADDR"), token: os.Getenv("VAULT_TOKEN"),
	}
	f.buffers.New = func() any { return &buffer{} }
	if *form == "same" {
		return f.serve(ctx,
			lane{"FINX_CALLBACKS", "finx-callbacks", callbacks, f.callback, true}, lane{"FINX_REQUESTS", "finx-syncs", syncs, f.sync, true})
	}
	return f.serve(ctx, lane{"FINX_CALLBACKS", "finx-callbacks", callbacks + syncs, f.bare, false})
}

func number(name string) (int, error) {
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		return 0, fmt.Errorf("%s is no number: %w", name, err)
	}
	return n, nil
}

// lane is a consumer and who handles its messages.
type lane struct {
	stream, durable string
	slots           int
	handle          func(ctx context.Context, msg jetstream.Msg) error
	one             bool // a pull for each message, as the connector makes it
}

// serve consumes until ctx ends. The first error ends it too: a floor knows no
// second attempt, and a run with an error has no figures.
func (f *floor) serve(ctx context.Context, lanes ...lane) error {
	failed := make(chan error, 1)
	for _, l := range lanes {
		consumer, err := f.js.Consumer(ctx, l.stream, l.durable)
		if err != nil {
			return fmt.Errorf("binding %s: %w", l.durable, err)
		}
		next, stop, err := l.source(consumer)
		if err != nil {
			return fmt.Errorf("consuming %s: %w", l.durable, err)
		}
		defer stop()
		for range l.slots {
			go func() {
				for {
					msg, err := next()
					if err == nil {
						err = l.handle(ctx, msg)
					}
					if err != nil {
						select {
						case failed <- fmt.Errorf("%s: %w", l.durable, err):
						default:
						}
						return
					}
				}
			}()
		}
	}
	fmt.Fprintln(os.Stdout, "ready")
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

// source returns where the slots of a lane get their messages from.
func (l lane) source(c jetstream.Consumer) (next func() (jetstream.Msg, error), stop func(), err error) {
	if !l.one {
		messages, err := c.Messages(jetstream.PullMaxMessages(l.slots))
		if err != nil {
			return nil, nil, err
		}
		return func() (jetstream.Msg, error) { return messages.Next() }, messages.Stop, nil
	}
	next = func() (jetstream.Msg, error) {
		for {
			msg, err := c.Next(jetstream.FetchMaxWait(pullWait))
			if !errors.Is(err, nats.ErrTimeout) {
				return msg, err
			}
		}
	}
	return next, func() {}, nil
}

const pullWait = 5 * time.Second
