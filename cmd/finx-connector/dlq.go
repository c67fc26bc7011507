package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/app"
	"github.com/finx-connector/finx-connector/dlq"
	"github.com/finx-connector/finx-connector/internal/fault"
)

func (p *program) dlqCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "dlq",
		Short: "See, redrive or discard dead letters",
		Long: `A dead letter is an input event that was given up: a copy of it, and why. Each is named by
its sequence in the stream of dead letters.

Classes: malformed, rejected, exhausted, expired, unknown_state, oversize, outage.`,
		Example: `  finx-connector dlq list --class outage
  finx-connector dlq show 17
  finx-connector dlq redrive --class outage --yes`,
	}, p.dlqListCommand(), p.dlqShowCommand(), p.dlqRedriveCommand(), p.dlqDiscardCommand())
}

// letters opens the stream of the dead letters.
func (b *broker) letters() (*dlq.Queue, error) {
	return dlq.New(dlq.Config{JS: b.js, Codec: app.Codec(b.settings), Stream: b.settings.Streams.DLQ, Timeout: b.wait})
}

// letterFilter are the flags that choose dead letters.
type letterFilter struct{ class, subject, since string }

func (f *letterFilter) flags(c *cobra.Command) {
	c.Flags().StringVar(&f.class, "class", "", "only those of this `class`, such as outage")
	c.Flags().StringVar(&f.subject, "subject", "", "only those whose original was on this `subject` or below it")
	c.Flags().StringVar(&f.since, "since", "", "only those not older: an RFC 3339 `time`, or a duration ago such as 24h")
}

func (f *letterFilter) given() bool { return *f != letterFilter{} }

// filter reads the flags; what they cannot mean is wrong usage.
func (f *letterFilter) filter(now time.Time) (dlq.Filter, error) {
	out := dlq.Filter{Class: fault.Class(f.class), Subject: f.subject}
	switch out.Class {
	case "", fault.Malformed, fault.Rejected, fault.Exhausted, fault.Expired, fault.UnknownState, fault.Oversize, fault.Outage:
	default:
		return out, usagef("--class must be one of malformed, rejected, exhausted, expired, unknown_state, oversize, outage")
	}
	if strings.ContainsAny(f.subject, " \t\r\n") || strings.Contains("."+f.subject+".", "..") && f.subject != "" {
		return out, usagef("--subject must be a NATS subject")
	}
	if f.since == "" {
		return out, nil
	}
	if ago, err := time.ParseDuration(f.since); err == nil && ago >= 0 {
		out.Since = now.Add(-ago)
		return out, nil
	}
	at, err := time.Parse(time.RFC3339, f.since)
	if err != nil {
		return out, usagef("--since must be an RFC 3339 time or a duration such as 24h")
	}
	out.Since = at
	return out, nil
}

// sequences reads the arguments of a command that names dead letters.
func sequences(args []string) ([]uint64, error) {
	out := make([]uint64, len(args))
	seen := map[uint64]bool{}
	for i, a := range args {
		n, err := strconv.ParseUint(a, 10, 64)
		if err != nil || n == 0 {
			return nil, usagef("%q is no sequence of a dead letter: a number from 1, as dlq list shows", a)
		}
		if seen[n] {
			return nil, usagef("dead letter %d is named twice", n)
		}
		out[i], seen[n] = n, true
	}
	return out, nil
}

// letterView is what list shows of a dead letter: no header, no body.
type letterView struct {
	Sequence uint64      `json:"sequence"`
	Time     time.Time   `json:"time"`
	Class    fault.Class `json:"class"`
	Subject  string      `json:"subject"`
	Error    string      `json:"error"`
	Attempts int         `json:"attempts"`
	Consumer string      `json:"consumer"`
	Stream   string      `json:"original_stream"`
	Original uint64      `json:"original_sequence"`
}

func viewLetter(l dlq.Letter) letterView {
	return letterView{
		Sequence: l.Sequence, Time: l.Time.UTC(), Class: l.Reason, Subject: l.Original.Subject, Error: l.Error,
		Attempts: l.Attempts, Consumer: l.Consumer, Stream: l.Original.Stream, Original: l.Original.Sequence,
	}
}

func (v letterView) cells() []string {
	return []string{fmt.Sprint(v.Sequence), shown(v.Time), string(v.Class), v.Subject, fmt.Sprint(v.Attempts), cut(v.Error, 100)}
}

func letterHeads() []string { return []string{"SEQ", "TIME", "CLASS", "SUBJECT", "ATTEMPTS", "ERROR"} }
