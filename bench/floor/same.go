package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// record is what a floor wants of a connection's record. The rest is read and
// written back as it stands.
type record struct {
	ID     string `json:"id"`
	UserID string `json:"user_id"`
}

// callback makes the calls that the connector makes for callback.received. make
// bench prints them side by side; when the connector makes others, this changes.
func (f *floor) callback(ctx context.Context, msg jetstream.Msg) error {
	var c callback
	if err := json.Unmarshal(msg.Data(), &c); err != nil {
		return err
	}
	state, err := f.read(ctx, stateKey(c.State))
	if err != nil {
		return err
	}
	rec, err := f.read(ctx, "connection."+c.ConnectionID)
	if err != nil {
		return err
	}
	if _, err := f.write(ctx, bucketConnections, stateKey(c.State), state.value, state.revision, 0); err != nil {
		return err
	}
	t, err := f.exchangeUnderLease(ctx, c)
	if err != nil {
		return err
	}
	if err := f.established(ctx, c, t); err != nil {
		return err
	}
	if _, err := f.write(ctx, bucketConnections, "connection."+c.ConnectionID, rec.value, rec.revision, 0); err != nil {
		return err
	}
	if err := f.timer(ctx, "keepalive", c.ConnectionID, 60*24*time.Hour); err != nil {
		return err
	}
	if err := f.askSync(ctx, c); err != nil {
		return err
	}
	return msg.DoubleAck(ctx)
}

// exchangeUnderLease is the journal around the one call that must not be made twice.
func (f *floor) exchangeUnderLease(ctx context.Context, c callback) (tokens, error) {
	lease, err := f.write(ctx, bucketLeases, "tokens."+c.ConnectionID, []byte(holder), 0, leaseTTL)
	if err != nil {
		return tokens{}, err
	}
	var kept json.RawMessage
	if err := f.askVault(ctx, http.MethodGet, f.secretPath("data", c.ConnectionID), nil, &kept); err != nil {
		return tokens{}, err
	}
	mark := member{"pending", map[string]any{"kind": "exchange", "holder": holder, "started_at": time.Now().UTC(), "attempt": 1}}
	if err := f.putSecret(ctx, c.ConnectionID, 0, tokens{}, mark); err != nil {
		return tokens{}, err
	}
	t, err := f.exchange(ctx, c.Code)
	if err != nil {
		return t, err
	}
	if err := f.putSecret(ctx, c.ConnectionID, 1, t); err != nil {
		return t, err
	}
	if err := f.askVault(ctx, http.MethodGet, f.secretPath("metadata", c.ConnectionID), nil, &kept); err != nil {
		return t, err
	}
	return t, f.remove(ctx, bucketLeases, "tokens."+c.ConnectionID, lease)
}

// askSync asks for the fetch, which has a lane of its own.
func (f *floor) askSync(ctx context.Context, c callback) error {
	id := newID()
	body := fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":"/finx-connector","type":"transactions.sync.requested","time":%q,"data":{"connection_id":%q,"trigger":"callback","reason":"connection established"}}`,
		id, time.Now().UTC().Format(time.RFC3339Nano), c.ConnectionID)
	return f.store(ctx, "transactions.sync.requested", id, c.ConnectionID, body)
}

// sync makes the calls that the connector makes for transactions.sync.requested.
func (f *floor) sync(ctx context.Context, msg jetstream.Msg) error {
	var asked struct {
		Data struct {
			ConnectionID string `json:"connection_id"`
		} `json:"data"`
	}
	if err := json.Unmarshal(msg.Data(), &asked); err != nil {
		return err
	}
	id := asked.Data.ConnectionID
	lease, err := f.write(ctx, bucketLeases, "fetch."+id, []byte(holder), 0, leaseTTL)
	if err != nil {
		return err
	}
	kept, err := f.read(ctx, "connection."+id)
	if err != nil {
		return err
	}
	var rec record
	if err := json.Unmarshal(kept.value, &rec); err != nil {
		return err
	}
	revision, err := f.write(ctx, bucketConnections, "connection."+id, kept.value, kept.revision, 0)
	if err != nil {
		return err
	}
	if err := f.timer(ctx, "sync", id, 6*time.Hour); err != nil {
		return err
	}
	var stored struct {
		Data struct {
			Data tokens `json:"data"`
		} `json:"data"`
	}
	if err := f.askVault(ctx, http.MethodGet, f.secretPath("data", id), nil, &stored); err != nil {
		return err
	}
	if err := f.fetch(ctx, callback{ConnectionID: id, UserID: rec.UserID}, stored.Data.Data.Access); err != nil {
		return err
	}
	if _, err := f.write(ctx, bucketConnections, "connection."+id, kept.value, revision, 0); err != nil {
		return err
	}
	if err := f.remove(ctx, bucketLeases, "fetch."+id, lease); err != nil {
		return err
	}
	return msg.DoubleAck(ctx)
}

// timer sets a schedule of the broker's.
func (f *floor) timer(ctx context.Context, kind, connectionID string, in time.Duration) error {
	id := newID()
	_, err := f.js.PublishMsg(ctx, &nats.Msg{
		Subject: "finx.timer." + kind + "." + connectionID,
		Data:    fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":"/finx-connector","type":%q,"data":{"connection_id":%q}}`, id, kind, connectionID),
		Header: nats.Header{
			jetstream.MsgIDHeader: {id}, jetstream.ScheduleHeader: {"@at " + time.Now().UTC().Add(in).Format(time.RFC3339)},
			jetstream.ScheduleTargetHeader: {"finx.due." + kind + "." + connectionID}, jetstream.ScheduleTTLHeader: {"720h"},
			"Finx-Connection-Id": {connectionID},
		},
	})
	if err != nil {
		return fmt.Errorf("setting the %s timer: %w", kind, err)
	}
	return nil
}
