package connectionkv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/internal/fault"
)

const suspectPrefix = "suspect."

// suspect is the note on a delivery that was begun and has not returned.
type suspect struct {
	V      int       `json:"v"` // 1; none in those of before version 0.5
	Begun  int       `json:"begun"`
	Last   time.Time `json:"last"`
	Holder string    `json:"holder"` // the key of the replica that began it last
}

// suspectTries bounds how often a note is written again because somebody else did.
const suspectTries = 8

// Begun notes that the handling of a message begins, and returns how often that
// has happened without Returned being called, this time included. It is forgotten
// a day after the last time.
func (c *Control) Begun(ctx context.Context, stream string, sequence uint64) (times int, err error) {
	times, err = c.begun(ctx, stream, sequence)
	c.metrics.observe(opSuspectBegun, err)
	if err != nil {
		return 0, fmt.Errorf("connectionkv: noting that %s %d is begun: %w", stream, sequence, err)
	}
	return times, nil
}

func (c *Control) begun(ctx context.Context, stream string, sequence uint64) (int, error) {
	key, err := suspectKey(stream, sequence)
	if err != nil {
		return 0, err
	}
	for range suspectTries {
		var times int
		times, err = c.begunOnce(ctx, key)
		if !errors.Is(err, ErrConflict) {
			return times, err
		}
	}
	return 0, err
}

func (c *Control) begunOnce(ctx context.Context, key string) (int, error) {
	now, err := c.bucket.read(ctx, key)
	if err != nil {
		return 0, err
	}
	var note suspect
	if now.live {
		// A note nobody can read is begun anew: it must not hold up the delivery.
		_ = json.Unmarshal(now.value, &note)
		if err := checkVersion("a suspected delivery", note.V); err != nil {
			return 0, err
		}
	}
	note = suspect{V: noteVersion, Begun: max(0, note.Begun) + 1, Last: time.Now().UTC(), Holder: c.replicaKey}
	value, err := json.Marshal(note)
	if err != nil {
		return 0, err
	}
	_, err = c.bucket.write(ctx, key, value, now.revision, c.suspectTTL)
	return note.Begun, err
}

// Returned takes the note away: whatever came of it, the handler did not end the
// process.
func (c *Control) Returned(ctx context.Context, stream string, sequence uint64) error {
	err := c.returned(ctx, stream, sequence)
	c.metrics.observe(opSuspectReturned, err)
	if err != nil {
		return fmt.Errorf("connectionkv: noting that %s %d has returned: %w", stream, sequence, err)
	}
	return nil
}

func (c *Control) returned(ctx context.Context, stream string, sequence uint64) error {
	key, err := suspectKey(stream, sequence)
	if err != nil {
		return err
	}
	_, err = c.bucket.send(ctx, marker(c.bucket.subject(key)), jetstream.WithMsgTTL(markerTTL))
	if !fault.IsAmbiguous(err) {
		return err
	}
	if now, readErr := c.bucket.readAfter(ctx, key); readErr == nil && !now.live {
		return nil
	}
	return err
}

// suspectKey takes every name that a stream can have, those of other teams too.
func suspectKey(stream string, sequence uint64) (string, error) {
	if stream == "" || strings.ContainsAny(stream, " \t\r\n.*>") {
		return "", fault.Permanent(fault.Malformed, errors.New("no name of a stream"))
	}
	return suspectPrefix + stream + "." + strconv.FormatUint(sequence, 10), nil
}
