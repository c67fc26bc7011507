package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// chunkBytes is the size of a part, as the connector's default.
const chunkBytes = 512 << 10

// partRoom is what is kept free of it for the envelope.
const partRoom = 2 << 10

// buffer is what one fetch builds its parts in.
type buffer struct {
	page         bytes.Buffer
	transactions []byte
	body         []byte
	decoder      jsontext.Decoder
	parts        []string // ids of the parts that were published
}

// fetch reads all accounts page by page and publishes their transactions.
func (f *floor) fetch(ctx context.Context, c callback, access string) error {
	accounts, err := f.accounts(ctx, access)
	if err != nil {
		return err
	}
	buf, ok := f.buffers.Get().(*buffer)
	if !ok {
		return errors.New("no buffer")
	}
	defer f.buffers.Put(buf)
	buf.parts = buf.parts[:0]
	total, started := 0, time.Now().UTC()
	for _, a := range accounts {
		n, err := f.account(ctx, c, access, a, buf)
		if err != nil {
			return err
		}
		total += n
	}
	return f.publish(ctx, "transactions.fetch.completed", c, func(b []byte) []byte {
		b = append(b, `,"transactions":`...)
		b = strconv.AppendInt(b, int64(total), 10)
		b = append(b, `,"event_ids":[`...)
		for i, id := range buf.parts {
			if i > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendQuote(b, id)
		}
		b = append(b, `],"started_at":"`...)
		b = started.AppendFormat(b, time.RFC3339Nano)
		b = append(b, `","finished_at":"`...)
		b = time.Now().UTC().AppendFormat(b, time.RFC3339Nano)
		return append(b, '"')
	})
}

// account reads one account to its end and returns how many transactions it has.
func (f *floor) account(ctx context.Context, c callback, access string, a account, buf *buffer) (int, error) {
	buf.transactions = buf.transactions[:0]
	total, held := 0, 0
	flush := func() error {
		if err := f.part(ctx, c, a, buf); err != nil {
			return err
		}
		buf.transactions, held = buf.transactions[:0], 0
		return nil
	}
	drop := f.drop
	for {
		n, err := f.pageOf(ctx, access, a.id, total, buf, func(raw []byte) error {
			if drop {
				drop = false
				return nil
			}
			if held > 0 && len(buf.transactions)+1+len(raw) > chunkBytes-partRoom {
				if err := flush(); err != nil {
					return err
				}
			}
			if held > 0 {
				buf.transactions = append(buf.transactions, ',')
			}
			buf.transactions = append(buf.transactions, raw...)
			held++
			return nil
		})
		if err != nil {
			return 0, err
		}
		total += n
		if n < f.page {
			break
		}
	}
	return total, flush()
}

// pageOf reads one page and hands out each transaction as it stands. The page is
// read whole: cutting it as it comes in saves its memory and costs more CPU.
func (f *floor) pageOf(ctx context.Context, access, id string, offset int, buf *buffer, each func([]byte) error) (int, error) {
	q := url.Values{
		"count": {strconv.Itoa(f.page)}, "offset": {strconv.Itoa(offset)}, "sort": {"asc"}, "include_pending": {"true"},
		"until": {time.Now().UTC().Format(time.DateOnly)},
	}
	resp, err := f.get(ctx, f.finx+"/rest/accounts/"+id+"/transactions?"+q.Encode(), access)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	buf.page.Reset()
	if _, err := buf.page.ReadFrom(resp.Body); err != nil {
		return 0, err
	}
	d := &buf.decoder
	d.Reset(&buf.page)
	n := 0
	err = eachOf(d, "transactions", func(v jsontext.Value) error {
		n++
		return each(v)
	})
	return n, err
}

// eachOf hands out the elements of a member of the object that comes next.
func eachOf(d *jsontext.Decoder, member string, each func(jsontext.Value) error) error {
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		if name.String() != member {
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
			if err := each(v); err != nil {
				return err
			}
		}
		if _, err := d.ReadToken(); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

// part publishes what is held.
func (f *floor) part(ctx context.Context, c callback, a account, buf *buffer) error {
	id := newID()
	b := envelope(buf.body[:0], "transactions.fetched", id, c)
	b = append(b, `,"account":`...)
	b = append(b, a.raw...)
	b = append(b, `,"part":`...)
	b = strconv.AppendInt(b, int64(len(buf.parts)), 10)
	b = append(b, `,"transactions":[`...)
	b = append(b, buf.transactions...)
	b = append(b, `]}}`...)
	buf.body = b
	buf.parts = append(buf.parts, id)
	return f.store(ctx, "transactions.fetched", id, c.ConnectionID, b)
}

// publish makes an event and stores it. data appends what goes behind the ids.
func (f *floor) publish(ctx context.Context, typ string, c callback, data func([]byte) []byte) error {
	id := newID()
	b := envelope(make([]byte, 0, 1<<10), typ, id, c)
	b = data(b)
	return f.store(ctx, typ, id, c.ConnectionID, append(b, `}}`...))
}

// envelope begins a CloudEvent up to the ids in its data.
func envelope(b []byte, typ, id string, c callback) []byte {
	b = append(b, `{"specversion":"1.0","id":"`...)
	b = append(b, id...)
	b = append(b, `","source":"/finx-connector","type":"`...)
	b = append(b, typ...)
	b = append(b, `","subject":"`...)
	b = append(b, c.ConnectionID...)
	b = append(b, `","time":"`...)
	b = time.Now().UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","datacontenttype":"application/json","data":{"connection_id":"`...)
	b = append(b, c.ConnectionID...)
	b = append(b, `","user_id":"`...)
	b = append(b, c.UserID...)
	return append(b, '"')
}

// store publishes with an id for the broker and waits until it is stored.
func (f *floor) store(ctx context.Context, typ, id, connectionID string, body []byte) error {
	_, err := f.js.PublishMsg(ctx, &nats.Msg{Subject: typ, Data: body, Header: nats.Header{
		jetstream.MsgIDHeader: {id}, "Content-Type": {"application/cloudevents+json"}, "Finx-Connection-Id": {connectionID},
	}})
	if err != nil {
		return fmt.Errorf("publishing %s: %w", typ, err)
	}
	return nil
}

// get calls finX as a user. The caller closes the body.
func (f *floor) get(ctx context.Context, target, access string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+access)
	resp, err := f.http.Do(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("%s answers %s", r.URL.Path, resp.Status)
	}
	return resp, nil
}
