package dlq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// DefaultControl is the bucket in which the notes on what operators did are kept.
const DefaultControl = "finx_control"

const (
	// NoteLife is how long a note is kept.
	NoteLife = 90 * 24 * time.Hour
	// MostNoted is how many dead letters a note names; its counts are of all.
	MostNoted = 200

	noteVersion = 1
	notePrefix  = "dlq."
)

// What a note says was done.
const (
	ActionRedrive = "redrive"
	ActionDiscard = "discard"
)

// Note is what is kept of one run of redrives or discards: who, what and why. It
// holds nothing of the events themselves.
type Note struct {
	V          int       `json:"v"`
	Run        string    `json:"run"` // names it; a UUID
	Action     string    `json:"action"`
	By         string    `json:"by"`
	Reason     string    `json:"reason,omitempty"`
	Selection  string    `json:"selection"` // what was asked for
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at,omitzero"` // zero: under way, or its process was killed
	Planned    int       `json:"planned"`
	Done       int       `json:"done"`
	Left       int       `json:"left"` // of the planned, those that are still there
	Letters    []Noted   `json:"letters,omitempty"`
}

// Noted names one dead letter that a run has dealt with.
type Noted struct {
	Sequence uint64      `json:"sequence"`
	Class    fault.Class `json:"class"`
	Stream   string      `json:"original_stream"`
	Original uint64      `json:"original_sequence"`
}

// Add notes that a dead letter was dealt with.
func (n *Note) Add(l Letter) {
	n.Done++
	if len(n.Letters) < MostNoted {
		n.Letters = append(n.Letters, Noted{l.Sequence, l.Reason, l.Original.Stream, l.Original.Sequence})
	}
}

// Keep stores a note under its run, in place of what was kept of that run before.
// It is kept for NoteLife. Errors carry a verdict.
func (q *Queue) Keep(ctx context.Context, n Note) error {
	n.V = noteVersion
	value, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("dlq: writing a note: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, q.cfg.Timeout)
	defer cancel()
	m := &nats.Msg{Subject: "$KV." + q.cfg.Control + "." + notePrefix + n.Run, Data: value}
	if _, err = q.cfg.JS.PublishMsg(ctx, m, jetstream.WithMsgTTL(NoteLife)); err != nil {
		return fmt.Errorf("dlq: keeping a note in bucket %s: %w", q.cfg.Control, judge(err))
	}
	return nil
}

// Notes returns the notes that are kept, the newest first. Those that a newer
// program wrote are left out and counted.
func (q *Queue) Notes(ctx context.Context) (notes []Note, newer int, err error) {
	ctx, stop := context.WithTimeout(ctx, q.cfg.Timeout)
	defer stop()
	kv, err := q.cfg.JS.KeyValue(ctx, q.cfg.Control)
	if err != nil {
		return nil, 0, fmt.Errorf("dlq: opening bucket %s: %w", q.cfg.Control, judge(err))
	}
	w, err := kv.Watch(ctx, notePrefix+">", jetstream.IgnoreDeletes())
	if err != nil {
		return nil, 0, fmt.Errorf("dlq: reading notes: %w", judge(err))
	}
	defer func() { _ = w.Stop() }()
	for {
		select {
		case e, open := <-w.Updates():
			if !open {
				return nil, 0, fmt.Errorf("dlq: reading notes: %w", judge(errors.New("the watch ended early")))
			}
			if e == nil { // all that there was at the start has come
				slices.SortFunc(notes, func(a, b Note) int { return b.StartedAt.Compare(a.StartedAt) })
				return notes, newer, nil
			}
			var n Note
			if err := json.Unmarshal(e.Value(), &n); err != nil || n.V > noteVersion {
				newer++
				continue
			}
			notes = append(notes, n)
		case <-ctx.Done():
			return nil, 0, fmt.Errorf("dlq: reading notes: %w", judge(context.Cause(ctx)))
		}
	}
}
