package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/app"
	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/replay"
)

func (p *program) replayCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "replay",
		Short: "Publish stored events again, or ask for new fetches",
		Long: `replay first shows what it would do and what that costs. With --yes it does it, one message
after the other; interrupted or killed, it goes on with --resume. See docs/replay.md.`,
		Example: `  finx-connector replay outputs --since 24h --to replay.accounting
  finx-connector replay inputs --subject user.connect.requested --since 2h
  finx-connector replay refetch --user me --since 2026-08-01 --until 2026-08-31`,
	}, p.replayOutputsCommand(), p.replayInputsCommand(), p.replayRefetchCommand())
}

func (p *program) replayOutputsCommand() *cobra.Command {
	r := &replayCommand{p: p, req: replay.Request{Mode: replay.Outputs}}
	c := r.command(&cobra.Command{
		Use:   "outputs",
		Short: "Publish stored output events again; no bank call is made",
		Long: `outputs publishes stored output events again, each to its own subject or all to --to. They
keep their CloudEvents id and every byte; replayid is set, and the Nats-Msg-Id is a new one,
replay:<replay id>:<stream>:<sequence>.

What is stored after the plan was made is not replayed, and neither are copies that an earlier
replay published. --to needs a stream that takes the subject.`,
		Example: `  finx-connector replay outputs --since 24h
  finx-connector replay outputs --since 24h --to replay.accounting --reason "lost table" --yes
  finx-connector replay outputs --resume 3f0c7c9e-6d0c-4a57-9a53-0f7ac3a2d7a1 --yes`,
	}, 500)
	r.streamFlags(c)
	c.Flags().StringVar(&r.req.To, "to", "", "`subject` to publish to (default: each event's own)")
	r.apart(c, "to")
	return c
}

func (p *program) replayInputsCommand() *cobra.Command {
	r := &replayCommand{p: p, req: replay.Request{Mode: replay.Inputs}}
	c := r.command(&cobra.Command{
		Use:   "inputs",
		Short: "Have stored input events handled again; what is done is not done twice",
		Long: `inputs publishes stored input events again, on their subjects and with their own ids, so
that they are handled again: a code that was exchanged is never exchanged twice, a finished
connect makes no second link, a fetch that is done is not made again. The plan says what is
not done yet, as far as the records of the connections tell, and how many bank calls that is.

What would only become a dead letter again is left out, and so are copies of an earlier replay.
Erasure requests are replayed only when --subject names them.`,
		Example: `  finx-connector replay inputs --since 2h
  finx-connector replay inputs --connection 3f0c7c9e-6d0c-5a57-9a53-0f7ac3a2d7a1 --yes`,
	}, 50)
	r.streamFlags(c)
	return c
}

func (p *program) replayRefetchCommand() *cobra.Command {
	r := &replayCommand{p: p, req: replay.Request{Mode: replay.Refetch}}
	c := r.command(&cobra.Command{
		Use:   "refetch",
		Short: "Ask for a new fetch of connections; the plan says how many bank calls",
		Long: `refetch asks for a new fetch of connections, all or some, over a window: from the day of
--since to the day of --until, or up to today. Without --since each account is read from where
its last fetch ended, with --full from its beginning. What is fetched says trigger replay.

Only an established connection can be fetched; the others are listed with the reason. The bank
calls are estimated from each connection's last fetch, and are more when the window is longer.`,
		Example: `  finx-connector replay refetch --since 2026-08-01 --until 2026-08-31
  finx-connector replay refetch --user me --full --yes`,
	}, 2)
	r.window = true
	c.Flags().StringVar(&r.since, "since", "", "first day of the window: YYYY-MM-DD, an RFC 3339 `time`, or a duration ago such as 720h")
	c.Flags().StringVar(&r.until, "until", "", "last day of the window: a `time` as for --since (default: today)")
	c.Flags().BoolVar(&r.req.Full, "full", false, "read the whole history")
	// Known, so that it can be said why they do not fit.
	r.sequenceFlags(c)
	for _, name := range []string{"from-seq", "to-seq", "subject"} {
		_ = c.Flags().MarkHidden(name) // it is there
	}
	r.apart(c, "since", "until", "full")
	return c
}

// replayCommand are the flags of replay outputs, inputs and refetch.
type replayCommand struct {
	p            *program
	req          replay.Request
	since, until string
	window       bool // they are days to be fetched
	resume       string
	rate         float64
	yes          bool
	out          format
}

// command gives c the flags that all modes have, and its work.
func (r *replayCommand) command(c *cobra.Command, rate float64) *cobra.Command {
	c.Args = cobra.NoArgs
	c.PreRunE = func(c *cobra.Command, _ []string) error {
		if err := noneEmpty(c, "resume", "since", "until", "subject", "connection", "user", "to"); err != nil {
			return err
		}
		return r.check()
	}
	c = r.p.withBroker(c, func(ctx context.Context, b *broker, _ []string) error { return r.run(ctx, b) })
	s := &r.req.Selection
	c.Flags().StringVar(&s.Connection, "connection", "", "only those about the connection of this `id`")
	c.Flags().StringVar(&s.User, "user", "", "only those about this `user_id`")
	c.Flags().StringVar(&r.req.By, "by", "", "`who` replays, for the record (default: this user at this host)")
	c.Flags().StringVar(&r.req.Reason, "reason", "", "why, for the record: a `text`")
	c.Flags().StringVar(&r.resume, "resume", "", "go on with the replay of this `id` where it stopped")
	c.Flags().BoolVar(&r.yes, "yes", false, "do it; without, only the plan is shown")
	c.Flags().Float64Var(&r.rate, "rate", rate, "messages a second at most")
	r.out.flag(c)
	r.apart(c, "connection", "user", "by", "reason")
	return c
}

// apart keeps flags from being given together with --resume, which has its own
// values of them.
func (r *replayCommand) apart(c *cobra.Command, names ...string) {
	for _, name := range names {
		c.MarkFlagsMutuallyExclusive("resume", name)
	}
}

func (r *replayCommand) streamFlags(c *cobra.Command) {
	c.Flags().StringVar(&r.since, "since", "", "only those stored not before: an RFC 3339 `time`, a day, or a duration ago such as 24h")
	c.Flags().StringVar(&r.until, "until", "", "only those stored not after: a `time` as for --since")
	r.sequenceFlags(c)
	r.apart(c, "since", "until")
}

func (r *replayCommand) sequenceFlags(c *cobra.Command) {
	s := &r.req.Selection
	c.Flags().Uint64Var(&s.FromSeq, "from-seq", 0, "only those from this `sequence` of the stream on")
	c.Flags().Uint64Var(&s.ToSeq, "to-seq", 0, "only those up to this `sequence` of the stream")
	c.Flags().StringVar(&s.Subject, "subject", "", "only those on this `subject` or below it; wildcards are NATS's")
	r.apart(c, "from-seq", "to-seq", "subject")
}

// check reads the command line.
func (r *replayCommand) check() (err error) {
	if err := checkRate(r.rate); err != nil {
		return err
	}
	if r.resume != "" {
		if !events.IsUUID(r.resume) {
			return usagef("--resume must be the id of a replay, as its plan shows it")
		}
		return nil
	}
	now := time.Now()
	if r.req.Selection.Since, err = dayOrMoment("--since", r.since, now, 0); err != nil {
		return err
	}
	if r.req.Selection.Until, err = dayOrMoment("--until", r.until, now, day-time.Nanosecond); err != nil {
		return err
	}
	if r.window && r.req.Selection.Since.After(now) {
		return usagef("--since is in the future: there is nothing to fetch")
	}
	if r.req.By == "" {
		r.req.By = operator()
	}
	return asUsage(r.req.Check(events.Codec{}))
}

// noneEmpty refuses a flag that was given without a value, as by a variable that is
// not set: what was to choose a few would choose all.
func noneEmpty(c *cobra.Command, names ...string) error {
	for _, name := range names {
		if f := c.Flags().Lookup(name); f != nil && f.Changed && f.Value.String() == "" {
			return usagef("--%s is empty: leave it out, or say which", name)
		}
	}
	return nil
}

// checkRate refuses what no clock can keep.
func checkRate(rate float64) error {
	if !(rate >= 1e-3 && rate <= 1e6) {
		return usagef("--rate must be above 0: from 0.001 to 1000000 a second")
	}
	return nil
}

// dayOrMoment is moment for a flag that may also be a day, of which it is the
// moment into it.
func dayOrMoment(flag, text string, now time.Time, into time.Duration) (time.Time, error) {
	if at, err := time.Parse(time.DateOnly, text); err == nil && !at.IsZero() {
		return at.Add(into), nil
	}
	return moment(flag, text, now)
}

// asUsage makes wrong usage of what the replay cannot mean.
func asUsage(err error) error {
	if wrong, is := errors.AsType[*replay.UsageError](err); is {
		return usageError{wrong}
	}
	return err
}

// replayer joins the parts of a replay.
func (b *broker) replayer() (*replay.Replayer, error) {
	s := b.settings
	store, err := b.records()
	if err != nil {
		return nil, err
	}
	holder := fmt.Sprintf("%s (process %d)", operator(), os.Getpid())
	control, err := connectionkv.NewControl(connectionkv.ControlConfig{JS: b.js, Holder: holder, Timeout: b.wait})
	if err != nil {
		return nil, err
	}
	return replay.New(replay.Config{
		JS: b.js, Records: replayRecords{store}, Checkpoints: control, Codec: app.Codec(s), PerConnection: s.Subjects.PerConnection,
		Streams: replay.Streams{
			Connects: s.Streams.Requests, Syncs: s.Streams.Syncs, Erasures: s.Streams.Erasures,
			Callbacks: s.Streams.Callbacks, Events: s.Streams.Events,
		},
		CodeLifetime: s.FinX.CodeLifetime, PageSize: s.Fetch.PageSize, Holder: holder, Timeout: b.wait,
	})
}

// replayRecords says what a list lacks in the words of package replay.
type replayRecords struct{ *connectionkv.Store }

func (r replayRecords) List(ctx context.Context, each func(connection.Record) error) error {
	err := r.Store.List(ctx, each)
	if partly, is := errors.AsType[*connectionkv.UnreadableError](err); is {
		return &replay.UnreadableError{IDs: partly.IDs}
	}
	return err
}
