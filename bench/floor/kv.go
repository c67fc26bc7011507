package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	bucketConnections = "finx_connections"
	bucketLeases      = "finx_leases"
	holder            = `{"owner":"floor","holder":"floor-0123456789abcdef"}`
	leaseTTL          = 20 * time.Second
)

// entry is the newest value of a key.
type entry struct {
	value    []byte
	revision uint64
}

// read asks the leader of the bucket of connections, as the connector does.
func (f *floor) read(ctx context.Context, key string) (entry, error) {
	body, err := json.Marshal(map[string]string{"last_by_subj": "$KV." + bucketConnections + "." + key})
	if err != nil {
		return entry{}, err
	}
	reply, err := f.js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET.KV_"+bucketConnections, body)
	if err != nil {
		return entry{}, fmt.Errorf("reading %s: %w", bucketConnections, err)
	}
	var answer struct {
		Message *struct {
			Sequence uint64 `json:"seq"`
			Data     []byte `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return entry{}, err
	}
	if answer.Message == nil {
		return entry{}, fmt.Errorf("reading %s: no such key", bucketConnections)
	}
	return entry{answer.Message.Data, answer.Message.Sequence}, nil
}

// write stores a value on the revision that was read and returns the new one.
func (f *floor) write(ctx context.Context, bucket, key string, value []byte, revision uint64, ttl time.Duration) (uint64, error) {
	opts := []jetstream.PublishOpt{jetstream.WithExpectLastSequencePerSubject(revision)}
	if ttl > 0 {
		opts = append(opts, jetstream.WithMsgTTL(ttl))
	}
	ack, err := f.js.PublishMsg(ctx, &nats.Msg{Subject: "$KV." + bucket + "." + key, Data: value}, opts...)
	if err != nil {
		return 0, fmt.Errorf("writing to %s: %w", bucket, err)
	}
	return ack.Sequence, nil
}

func (f *floor) remove(ctx context.Context, bucket, key string, revision uint64) error {
	msg := &nats.Msg{Subject: "$KV." + bucket + "." + key, Header: nats.Header{
		"KV-Operation": {"PURGE"}, jetstream.MsgRollup: {jetstream.MsgRollupSubject},
	}}
	_, err := f.js.PublishMsg(ctx, msg, jetstream.WithExpectLastSequencePerSubject(revision), jetstream.WithMsgTTL(time.Minute))
	if err != nil {
		return fmt.Errorf("deleting in %s: %w", bucket, err)
	}
	return nil
}

func stateKey(state string) string {
	sum := sha256.Sum256([]byte(state))
	return "state." + hex.EncodeToString(sum[:])
}

// newID is short and nobody else's.
func newID() string { return nats.NewInbox()[len(nats.InboxPrefix):] }
