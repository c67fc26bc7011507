package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// callback is the message that both sides get.
type callback struct {
	Code         string `json:"code"`
	State        string `json:"state"`
	ConnectionID string `json:"connection_id"`
	UserID       string `json:"user_id"`
}

// bare handles a callback with the calls that cannot be left out.
func (f *floor) bare(ctx context.Context, msg jetstream.Msg) error {
	var c callback
	if err := json.Unmarshal(msg.Data(), &c); err != nil {
		return err
	}
	tokens, err := f.exchange(ctx, c.Code)
	if err != nil {
		return err
	}
	if err := f.putSecret(ctx, c.ConnectionID, 0, tokens); err != nil {
		return err
	}
	if err := f.established(ctx, c, tokens); err != nil {
		return err
	}
	if err := f.fetch(ctx, c, tokens.Access); err != nil {
		return err
	}
	return msg.Ack()
}

func (f *floor) established(ctx context.Context, c callback, t tokens) error {
	return f.publish(ctx, "connection.established", c, func(b []byte) []byte {
		b = append(b, `,"state":"`...)
		b = append(b, c.State...)
		b = append(b, `","scope":"`...)
		b = append(b, t.Scope...)
		b = append(b, `","established_at":"`...)
		b = time.Now().UTC().AppendFormat(b, time.RFC3339Nano)
		return append(b, '"')
	})
}
