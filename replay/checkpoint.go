package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/finx-connector/finx-connector/internal/retry"
)

const (
	checkpointVersion = 1
	// checkpointLife is how long a replay can be resumed, and looked up, after its
	// last checkpoint.
	checkpointLife = 90 * 24 * time.Hour
	keyPrefix      = "replay."
)

// State is where a replay stands.
type State string

// The states of a replay.
const (
	Running     State = "running" // or its process died; see Holder and At
	Interrupted State = "interrupted"
	Completed   State = "completed"
)

// Counts are what became of the messages so far, over all runs of a replay.
type Counts struct {
	Replayed   int `json:"replayed"`   // stored by this replay
	Duplicates int `json:"duplicates"` // were in the stream already: sent by a run that died before it could say so
	Skipped    int `json:"skipped"`
	Failed     int `json:"failed"` // refused by the broker
	Bytes      int `json:"bytes"`  // of the bodies of what was replayed
}

// Done is how many messages were dealt with.
func (c Counts) Done() int { return c.Replayed + c.Duplicates + c.Skipped + c.Failed }

// Failure is a message that the broker refuses for good.
type Failure struct {
	Stream   string `json:"stream,omitempty"`
	Sequence uint64 `json:"sequence,omitempty"`
	Error    string `json:"error"`
}

// mostFailures is how many failures are named; all are counted.
const mostFailures = 20

// checkpoint is what is kept of a replay, under replay.<id> in the control
// bucket. It holds the selection as it was given; the user_id goes when the
// replay is completed.
type checkpoint struct {
	V       int     `json:"v"`
	ID      string  `json:"id"`
	Request Request `json:"request"`

	PlannedAt  time.Time `json:"planned_at"`
	StartedAt  time.Time `json:"started_at,omitzero"`
	FinishedAt time.Time `json:"finished_at,omitzero"` // this or its last run

	State  State     `json:"state"`
	Holder string    `json:"holder"` // who runs it, or ran it last
	Run    string    `json:"run"`    // names that run, as a holder may have had several
	At     time.Time `json:"at"`     // of this checkpoint, by the holder's clock

	ToStream string            `json:"to_stream,omitempty"`
	Position position          `json:"position"`
	Acked    map[string]uint64 `json:"acked,omitempty"` // per stream published to: no copy that is not counted lies up to here
	Counts   Counts            `json:"counts"`

	Failures       []Failure `json:"failures,omitempty"`
	ReferencesGone int       `json:"references_gone,omitempty"`
	Matched        int       `json:"matched"`    // as planned at first
	BankCalls      int       `json:"bank_calls"` // as planned at first
	Audited        bool      `json:"audited,omitempty"`
}

// key is where a replay is kept.
func key(id string) string { return keyPrefix + id }

func (c checkpoint) encode() ([]byte, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("replay: writing the checkpoint of %s: %w", c.ID, err)
	}
	return b, nil
}

func decodeCheckpoint(id string, value []byte) (checkpoint, error) {
	var c checkpoint
	if err := json.Unmarshal(value, &c); err != nil {
		return c, fmt.Errorf("replay: reading the checkpoint of %s: not one", id)
	}
	switch {
	case c.V > checkpointVersion:
		return c, fmt.Errorf("replay: reading the checkpoint of %s: version %d is newer than %d, the highest this program reads", id, c.V, checkpointVersion)
	case c.V < 1 || c.ID != id:
		return c, fmt.Errorf("replay: reading the checkpoint of %s: not a whole one", id)
	}
	if c.Acked == nil {
		c.Acked = map[string]uint64{}
	}
	return c, nil
}

// ErrNotFound says that there is no replay of that id: there never was, or it is
// older than checkpoints are kept.
var ErrNotFound = errors.New("no such replay")

// load reads a checkpoint, again while the broker is away.
func (r *Replayer) load(ctx context.Context, id string) (c checkpoint, revision uint64, err error) {
	var value []byte
	err = retry.Do(ctx, r.policy, func(ctx context.Context) (err error) {
		value, revision, err = r.cfg.Checkpoints.Load(ctx, key(id))
		return err
	}, nil)
	if err != nil {
		return c, 0, fmt.Errorf("replay: reading the checkpoint of %s: %w", id, err)
	}
	if revision == 0 {
		return c, 0, fmt.Errorf("replay: reading the checkpoint of %s: %w", id, ErrNotFound)
	}
	c, err = decodeCheckpoint(id, value)
	return c, revision, err
}
