package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
)

// digest is what the transactions of one account come to: how many, and a hash
// over their bytes in order.
type digest struct {
	n   int
	sum string
}

// digester makes one.
type digester struct {
	n    int
	hash hash.Hash
}

func (d *digester) add(raw []byte) {
	if d.hash == nil {
		d.hash = sha256.New()
	}
	d.n++
	d.hash.Write(raw)
	d.hash.Write([]byte{'\n'})
}

func (d *digester) digest() digest {
	if d.hash == nil {
		return digest{}
	}
	return digest{n: d.n, sum: hex.EncodeToString(d.hash.Sum(nil))}
}

// truth is what there is at the bank: the answers, and what they come to.
type truth struct {
	digest

	data *recording
}

// record asks a sandbox for everything, page by page.
func record(ctx context.Context, s scenario) (truth, error) {
	t := truth{data: &recording{answers: map[string][]byte{}}}
	b, err := newBank(ctx, s, t.data)
	if err != nil {
		return t, err
	}
	raw, err := b.recorded(ctx, "/rest/accounts", "", "")
	if err != nil {
		return t, err
	}
	var list struct {
		Accounts []struct {
			ID string `json:"account_id"`
		} `json:"accounts"`
	}
	if err := json.Unmarshal(raw, &list); err != nil || len(list.Accounts) != 1 {
		return t, fmt.Errorf("the sandbox has %d accounts: %w", len(list.Accounts), err)
	}
	var all digester
	for offset, count := 0, s.Page; ; offset += count {
		raw, err := b.recorded(ctx, "/rest/accounts/"+list.Accounts[0].ID+"/transactions", strconv.Itoa(count), strconv.Itoa(offset))
		if err != nil {
			return t, err
		}
		before := all.n
		if err := eachTransaction(raw, all.add); err != nil {
			return t, err
		}
		if all.n < before+count {
			break
		}
	}
	if all.n != s.Transactions {
		return t, fmt.Errorf("the sandbox has %d transactions, not %d", all.n, s.Transactions)
	}
	t.digest = all.digest()
	return t, nil
}

// eachTransaction hands out the elements of the member "transactions" as they stand.
func eachTransaction(object []byte, each func(raw []byte)) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(object))
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		if name.String() != "transactions" {
			if err := d.SkipValue(); err != nil {
				return err
			}
			continue
		}
		if _, err := d.ReadToken(); err != nil {
			return err
		}
		for d.PeekKind() == '{' {
			v, err := d.ReadValue()
			if err != nil {
				return err
			}
			each(v)
		}
		if _, err := d.ReadToken(); err != nil {
			return err
		}
	}
	return nil
}

// outcome is what was published for one connection.
type outcome struct {
	established, completed, parts int
	told                          int // transactions, as the completed event says
	got                           digester
}

// checkAll holds what came out against what there was: for every callback one
// connection.established, all transactions once, byte for byte and in order, one
// transactions.fetch.completed that counts them, and the tokens in Vault.
func (st *stage) checkAll(ctx context.Context, all []callback, want digest) error {
	outcomes, err := st.outcomes(ctx)
	if err != nil {
		return fmt.Errorf("checking the events: %w", err)
	}
	for _, c := range all {
		o := outcomes[c.ConnectionID]
		switch {
		case o == nil:
			return fmt.Errorf("wrong output: nothing was published for connection %s", c.ConnectionID)
		case o.established != 1 || o.completed != 1:
			return fmt.Errorf("wrong output: connection %s was established %d times and fetched %d times", c.ConnectionID, o.established, o.completed)
		case o.got.digest() != want:
			return fmt.Errorf("wrong output: connection %s got %d transactions, digest %.12s; there are %d, digest %.12s",
				c.ConnectionID, o.got.n, o.got.digest().sum, want.n, want.sum)
		case o.told != want.n:
			return fmt.Errorf("wrong output: %s says %d transactions, there are %d", events.TypeFetchCompleted, o.told, want.n)
		}
		if err := st.checkSecret(ctx, c); err != nil {
			return fmt.Errorf("wrong output: the tokens of connection %s: %w", c.ConnectionID, err)
		}
	}
	if len(outcomes) != len(all) {
		return fmt.Errorf("wrong output: events of %d connections, there are %d", len(outcomes), len(all))
	}
	if stats := st.bank.sandbox.Stats(); stats.CodesReused != 0 || stats.CodesExchanged != len(all)+1 { // one is the harness's own
		return fmt.Errorf("wrong output: %d codes were exchanged and %d sent again, for %d callbacks", stats.CodesExchanged-1, stats.CodesReused, len(all))
	}
	return nil
}

// outcomes reads the events stream from its beginning.
func (st *stage) outcomes(ctx context.Context) (map[string]*outcome, error) {
	s, err := st.js.Stream(ctx, settingsStreams().Events)
	if err != nil {
		return nil, err
	}
	found, last := map[string]*outcome{}, s.CachedInfo().State.LastSeq
	if last == 0 {
		return found, nil
	}
	consumer, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(100))
	if err != nil {
		return nil, err
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, err
		}
		if err := note(found, msg); err != nil {
			return nil, fmt.Errorf("reading an event on %s: %w", msg.Subject(), err)
		}
		if meta, err := msg.Metadata(); err != nil || meta.Sequence.Stream >= last {
			return found, err
		}
	}
}

// note adds an event to what is known of its connection.
func note(found map[string]*outcome, msg jetstream.Msg) error {
	e, err := events.ParseOutput(events.Message{Subject: msg.Subject(), Header: msg.Headers(), Data: msg.Data()})
	if err != nil {
		return err
	}
	if e.Type == events.TypeWidgetLinkCreated {
		return nil
	}
	o := found[e.ConnectionID]
	if o == nil {
		o = &outcome{}
		found[e.ConnectionID] = o
	}
	switch e.Type {
	case events.TypeConnectionEstablished:
		o.established++
	case events.TypeTransactionsFetched:
		o.parts++
		return eachTransaction(e.Data, o.got.add)
	case events.TypeFetchCompleted:
		var done struct {
			Transactions int      `json:"transactions"`
			EventIDs     []string `json:"event_ids"`
		}
		if err := json.Unmarshal(e.Data, &done); err != nil {
			return err
		}
		if len(done.EventIDs) != o.parts {
			return fmt.Errorf("it names %d parts, %d came before it", len(done.EventIDs), o.parts)
		}
		o.completed++
		o.told = done.Transactions
	default:
		return errors.New("nobody expects it")
	}
	return nil
}

// checkSecret looks whether the tokens of a connection are kept.
func (st *stage) checkSecret(ctx context.Context, c callback) error {
	raw, err := st.vault.call(ctx, http.MethodGet, kvMount+"/data/"+kvPrefix+"/connections/"+c.ConnectionID, "")
	if err != nil {
		return err
	}
	var kept struct {
		Data struct {
			Data struct {
				Access  string `json:"access_token"`
				Refresh string `json:"refresh_token"`
			} `json:"data"`
		} `json:"data"`
	}
	if err := json.Unmarshal(raw, &kept); err != nil {
		return err
	}
	if kept.Data.Data.Access == "" || kept.Data.Data.Refresh == "" {
		return errors.New("not both of them are there")
	}
	return nil
}
