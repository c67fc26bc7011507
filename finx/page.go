package finx

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// PageBuffer holds one page of transactions and is used again for the next, so
// that an account of any size is read in the memory of its largest page. The zero
// value is ready and has memory of its own; a buffer of a PagePool has memory only
// from an answer to the next Free. It is for one goroutine at a time; two of them
// let one page be fetched while the other is published.
type PageBuffer struct {
	body    []byte
	items   [][]byte
	source  bytes.Buffer
	decoder *jsontext.Decoder

	pool    *PagePool
	counted int64 // in pool
}

var errNotUTF8 = errors.New("the body is not UTF-8")

// Free gives the memory of the page back to the pool it is of. The page is gone.
// Doing it again does nothing.
func (p *PageBuffer) Free() {
	if p.pool == nil || p.counted == 0 {
		return
	}
	clear(p.items) // they may be of an earlier body, which they would hold
	p.pool.keep(&pageMemory{p.body[:0], p.items[:0], p.decoder})
	p.pool.change(-p.counted)
	p.body, p.items, p.source, p.decoder, p.counted = nil, nil, bytes.Buffer{}, nil, 0
}

// read takes in the body of resp and cuts it. The former page is gone, whether or
// not it succeeds.
func (p *PageBuffer) read(resp *http.Response, limit int64) (Page, error) {
	if p.pool == nil {
		return p.readBody(resp, limit)
	}
	p.Free()
	var err error
	if p.counted, err = p.pool.acquire(resp.Request.Context(), resp.ContentLength); err != nil {
		return Page{}, err
	}
	m := p.pool.take()
	p.body, p.items, p.decoder = m.body, m.items, m.decoder
	page, err := p.readBody(resp, limit)
	size := max(1, int64(cap(p.body))+int64(cap(p.items))*itemBytes)
	p.pool.change(size - p.counted)
	p.counted = size
	if err != nil {
		p.Free()
		return Page{}, err
	}
	p.pool.seen(size)
	return page, nil
}

func (p *PageBuffer) readBody(resp *http.Response, limit int64) (Page, error) {
	var err error
	p.body, err = appendBody(p.body[:0], resp, limit)
	if err != nil {
		return Page{}, err
	}
	return p.cut()
}

// cut finds the transactions in the body without copying or rebuilding them: an
// amount is never rendered again. The whole body is validated, since a stream of
// events must not break for its readers on the bytes of one bank.
func (p *PageBuffer) cut() (Page, error) {
	p.items = p.items[:0]
	if err := checkUTF8(p.body); err != nil {
		return Page{}, misunderstood(p.body, memberTransactions, err)
	}
	// A decoder on a bytes.Buffer works in place, so its values alias the body and
	// stay valid when it reads on.
	p.source = *bytes.NewBuffer(withoutMark(p.body))
	if p.decoder == nil {
		p.decoder = new(jsontext.Decoder)
	}
	p.decoder.Reset(&p.source, lenient()...)
	err := list(p.decoder, memberTransactions, func(v jsontext.Value) error {
		if v.Kind() != '{' {
			return fmt.Errorf("%w: transaction %d is no object", errShape, len(p.items))
		}
		p.items = append(p.items, v)
		return nil
	})
	if err != nil {
		return Page{}, misunderstood(p.body, memberTransactions, err)
	}
	return Page{Items: p.items}, nil
}

// checkUTF8 is what the decoder does not do here: it would also refuse half a
// surrogate pair in a \u escape, which is valid JSON by its grammar.
func checkUTF8(b []byte) error {
	if !utf8.Valid(b) {
		return errNotUTF8
	}
	return nil
}
