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
// value is ready. It is for one goroutine; two of them let one page be fetched
// while the other is published.
type PageBuffer struct {
	body    []byte
	items   [][]byte
	source  bytes.Buffer
	decoder *jsontext.Decoder
}

var errNotUTF8 = errors.New("the body is not UTF-8")

// read takes in the body of resp and cuts it. The former page is gone, whether or
// not it succeeds.
func (p *PageBuffer) read(resp *http.Response, limit int64) (Page, error) {
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
