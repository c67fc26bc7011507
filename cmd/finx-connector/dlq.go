package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/app"
	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/dlq"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

func (p *program) dlqCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "dlq",
		Short: "See, redrive or discard dead letters",
		Long: `A dead letter is an input event that was given up: a copy of it, and why. Each is named by
its sequence in the stream of dead letters.

Classes: malformed, rejected, exhausted, expired, unknown_state, oversize, outage.`,
		Example: `  finx-connector dlq list --summary
  finx-connector dlq show 17
  finx-connector dlq redrive --class outage --yes`,
	}, p.dlqListCommand(), p.dlqShowCommand(), p.dlqRedriveCommand(), p.dlqDiscardCommand(), p.dlqLogCommand())
}

// letters opens the stream of the dead letters.
func (b *broker) letters() (*dlq.Queue, error) {
	return dlq.New(dlq.Config{JS: b.js, Codec: app.Codec(b.settings), Stream: b.settings.Streams.DLQ, Timeout: b.wait, Who: b.who})
}

// who says which connection a state parameter was made for, and whose that is.
func (b *broker) who(ctx context.Context, state string) (connectionID, userID string, err error) {
	store, err := b.records()
	if err != nil {
		return "", "", err
	}
	binding, err := store.LookupState(ctx, state)
	if errors.Is(err, connection.ErrNotFound) {
		return "", "", nil
	}
	if err != nil {
		return "", "", err
	}
	r, _, err := store.Get(ctx, binding.ConnectionID)
	if errors.Is(err, connection.ErrNotFound) {
		return binding.ConnectionID, "", nil
	}
	return binding.ConnectionID, r.UserID, err
}

// letterView is what list shows of a dead letter: no header, no body.
type letterView struct {
	Sequence uint64      `json:"sequence"`
	Time     time.Time   `json:"time"`
	Age      int64       `json:"age_seconds"`
	Class    fault.Class `json:"class"`
	Subject  string      `json:"subject"`
	Error    string      `json:"error"`
	Attempts int         `json:"attempts"`
	Consumer string      `json:"consumer"`
	Stream   string      `json:"original_stream"`
	Original uint64      `json:"original_sequence"`
}

// viewLetter takes codes and what looks like a secret out of what is shown: a letter
// of another program may have them where ours never do.
func viewLetter(l dlq.Letter) letterView {
	clean, texts := events.RedactCallback(events.Message{Subject: l.Original.Subject, Header: l.Header, Data: l.Data}, l.Error)
	return letterView{
		Sequence: l.Sequence, Time: l.Time.UTC(), Age: int64(max(0, time.Since(l.Time)).Seconds()), Class: l.Reason, Subject: clean.Subject, Error: withoutSecrets(texts[0]),
		Attempts: l.Attempts, Consumer: l.Consumer, Stream: l.Original.Stream, Original: l.Original.Sequence,
	}
}

func (v letterView) cells() []string {
	return []string{
		fmt.Sprint(v.Sequence), short(time.Duration(v.Age) * time.Second), shown(v.Time), string(v.Class), v.Subject,
		fmt.Sprint(v.Attempts), cut(v.Error, 100),
	}
}

func letterHeads() []string {
	return []string{"SEQ", "AGE", "TIME", "CLASS", "SUBJECT", "ATTEMPTS", "ERROR"}
}
