package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
)

// upstream plays the service that knows the users: it publishes bare JSON, as
// one would with `nats pub`.
type upstream struct {
	js    jetstream.JetStream
	codec events.Codec
	print *printer
	// redirectURI is where the bank sends the user back to.
	redirectURI string
}

// publishTimeout bounds one publish; the broker is on this machine.
const publishTimeout = 10 * time.Second

// connect asks for a widget link for one user and returns the event's id. more
// are further fields of the request; none is needed.
func (u *upstream) connect(ctx context.Context, userID string, more map[string]any) (id string, err error) {
	id = events.NewUUID()
	data := map[string]any{"user_id": userID, "redirect_uri": u.redirectURI}
	maps.Copy(data, more)
	return id, u.publish(ctx, events.TypeConnectRequested, id, data)
}

// callback passes on the address that the user's browser came back to.
func (u *upstream) callback(ctx context.Context, url string) error {
	return u.publish(ctx, events.TypeCallbackReceived, events.NewUUID(), map[string]any{"callback_url": url})
}

func (u *upstream) publish(ctx context.Context, typ, id string, data map[string]any) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	body, err := json.Marshal(data)
	if err != nil {
		return err
	}
	msg := &nats.Msg{Subject: u.codec.Subject(typ), Data: body, Header: nats.Header{events.HeaderMsgID: {id}}}
	ack, err := u.js.PublishMsg(ctx, msg)
	if err != nil {
		return fmt.Errorf("publishing %s: %w", typ, err)
	}
	u.print.inf("%-34s id=%s stream=%s seq=%d", typ, short(id), ack.Stream, ack.Sequence)
	return nil
}
