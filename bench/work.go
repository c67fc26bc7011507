package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/events"
)

// callback is one piece of work. Both sides get the same message; what ours
// finds in its record, a floor reads from the further fields.
type callback struct {
	State        string `json:"state"`
	Success      bool   `json:"success"`
	Code         string `json:"code"`
	ConnectionID string `json:"connection_id"`
	UserID       string `json:"user_id"`
}

// prepare makes n connections whose users have just approved.
func (st *stage) prepare(ctx context.Context, who side, n int) ([]callback, error) {
	if who == ours {
		return st.prepareOurs(ctx, n)
	}
	records, err := connectionkv.New(connectionkv.Config{JS: st.js})
	if err != nil {
		return nil, err
	}
	all := make([]callback, 0, n)
	for i := range n {
		c := callback{State: events.NewUUID(), Success: true, ConnectionID: events.NewUUID(), UserID: userName(i)}
		location, err := st.bank.link(ctx, c.UserID, c.State)
		if err != nil {
			return nil, err
		}
		if _, c.Code, err = st.bank.approve(location); err != nil {
			return nil, err
		}
		if who == same { // it reads and writes what ours would, in the same size
			if err := bind(ctx, records, c); err != nil {
				return nil, err
			}
		}
		all = append(all, c)
	}
	return all, nil
}

func userName(i int) string { return fmt.Sprintf("user-%06d@example.com", i) }

// bind writes the record and the state that a connect request leaves behind.
func bind(ctx context.Context, records *connectionkv.Store, c callback) error {
	now := time.Now().UTC()
	rec := connection.New(c.ConnectionID, c.UserID, now)
	rec.Request = json.RawMessage(fmt.Sprintf(`{"redirect_uri":%q,"user_id":%q}`, redirectURI, c.UserID))
	rec.RedirectURI, rec.OAuthState, rec.CauseID, rec.FlowID = redirectURI, c.State, events.NewUUID(), events.NewUUID()
	rec, err := rec.Move(connection.LinkCreated, now, "widget link created")
	if err != nil {
		return err
	}
	if _, err := records.Create(ctx, rec); err != nil {
		return err
	}
	return records.BindState(ctx, c.State, c.ConnectionID)
}

// prepareOurs asks the connector for links and approves each as it comes.
func (st *stage) prepareOurs(ctx context.Context, n int) ([]callback, error) {
	links := make(chan *nats.Msg, n)
	sub, err := st.nc.ChanSubscribe(st.codec.Subject(events.TypeWidgetLinkCreated), links)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	var requests [][]byte
	for i := range n {
		raw, err := json.Marshal(map[string]string{"redirect_uri": redirectURI, "user_id": userName(i)})
		if err != nil {
			return nil, err
		}
		requests = append(requests, raw)
	}
	if err := st.publish(ctx, events.TypeConnectRequested, requests); err != nil {
		return nil, err
	}
	all, seen := make([]callback, 0, n), map[string]bool{}
	for len(all) < n {
		select {
		case msg := <-links:
			var link struct {
				Data struct {
					callback

					Location string `json:"location"`
				} `json:"data"`
			}
			if err := json.Unmarshal(msg.Data, &link); err != nil {
				return nil, fmt.Errorf("reading a widget link: %w", err)
			}
			c := link.Data.callback
			if seen[c.ConnectionID] {
				continue
			}
			seen[c.ConnectionID], c.Success = true, true
			if c.State, c.Code, err = st.bank.approve(link.Data.Location); err != nil {
				return nil, err
			}
			all = append(all, c)
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d widget links came: %w", len(all), n, context.Cause(ctx))
		}
	}
	return all, nil
}

// publish stores messages and returns when the broker has them all.
func (st *stage) publish(ctx context.Context, typ string, bodies [][]byte) error {
	for _, body := range bodies {
		msg := &nats.Msg{Subject: st.codec.Subject(typ), Data: body, Header: nats.Header{events.HeaderMsgID: {events.NewUUID()}}}
		if _, err := st.js.PublishMsgAsync(msg); err != nil {
			return fmt.Errorf("publishing %s: %w", typ, err)
		}
	}
	select {
	case <-st.js.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("publishing %s: %w", typ, context.Cause(ctx))
	}
}

// handle hands work over and returns how long it took from the first callback to
// the last fetch that is whole.
func (st *stage) handle(ctx context.Context, p *child, work []callback) (time.Duration, error) {
	if len(work) == 0 {
		return 0, nil
	}
	open, bodies := map[string]bool{}, make([][]byte, 0, len(work))
	for _, c := range work {
		open[c.ConnectionID] = true
		raw, err := json.Marshal(c)
		if err != nil {
			return 0, err
		}
		bodies = append(bodies, raw)
	}
	news := make(chan *nats.Msg, 4*len(work)+16)
	for _, subject := range []string{events.TypeFetchCompleted, events.TypeFetchFailed, events.TypeConnectionFailed, "dlq.>"} {
		sub, err := st.nc.ChanSubscribe(st.codec.Subject(subject), news)
		if err != nil {
			return 0, err
		}
		defer func() { _ = sub.Unsubscribe() }()
	}
	if err := st.nc.FlushWithContext(ctx); err != nil {
		return 0, err
	}
	begun := time.Now()
	if err := st.publish(ctx, events.TypeCallbackReceived, bodies); err != nil {
		return 0, err
	}
	for len(open) > 0 {
		select {
		case msg := <-news:
			if isTrouble(msg.Subject) {
				return 0, fmt.Errorf("%s came: %.300s", msg.Subject, msg.Data)
			}
			var e struct {
				Subject string `json:"subject"`
			}
			if err := json.Unmarshal(msg.Data, &e); err != nil {
				return 0, fmt.Errorf("reading %s: %w", msg.Subject, err)
			}
			delete(open, e.Subject)
		case <-p.done:
			return 0, fmt.Errorf("the process ended: %s", p.said)
		case <-ctx.Done():
			return 0, fmt.Errorf("%d of %d fetches are missing: %w", len(open), len(work), context.Cause(ctx))
		}
	}
	return time.Since(begun), nil
}
