package vaultstore

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
)

const (
	// leastSent is the length from which a value that was sent is looked for in an
	// answer; shorter ones, such as numbers, are in every text. sentLead is how much
	// of one that the answer has cut off is enough to know it by.
	leastSent = 6
	sentLead  = 12
	// mostSent bounds how much of a body is kept to look for: no login and no record
	// of usual size is longer.
	mostSent = 256 << 10
)

// sentBody is a body with a copy of what was read of it. The transport may still read
// when the answer is there.
type sentBody struct {
	io.ReadCloser
	mu   sync.Mutex
	copy bytes.Buffer
}

// Read is of io.Reader.
func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.copy.Write(p[:min(n, mostSent-b.copy.Len())])
	return n, err
}

// values returns the texts in a body of JSON, as far as it goes, without the names of
// its members.
func (b *sentBody) values() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []string
	var objects []bool // of the brackets that are open: is it an object's
	named := false     // the member's name has been read, its value comes next
	d := json.NewDecoder(bytes.NewReader(b.copy.Bytes()))
	for {
		token, err := d.Token()
		if err != nil {
			return all
		}
		if token == json.Delim('}') || token == json.Delim(']') {
			objects, named = objects[:len(objects)-1], false
			continue
		}
		if len(objects) > 0 && objects[len(objects)-1] {
			if named = !named; named {
				continue
			}
		}
		switch token := token.(type) {
		case string:
			all = append(all, token)
		case json.Delim:
			objects, named = append(objects, token == '{'), false
		}
	}
}

// watchBody makes req keep a copy of its body; nil when there is none.
func watchBody(req *http.Request) *sentBody {
	if req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	b := &sentBody{ReadCloser: req.Body}
	req.Body = b
	return b
}

// keepSent notes what a refusal may repeat: gateways and debugging proxies quote the
// request, whose token, secret id or tokens of finX belong into no error.
func (w *wire) keepSent(req *http.Request, body *sentBody) {
	sent := []string{req.Header.Get("X-Vault-Token")}
	if body != nil {
		sent = append(sent, body.values()...)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, sent...)
}

// quiet takes what was sent out of the words of an answer. What the answer has cut
// off is cut off here too, with all that follows.
func (w *wire) quiet(words string) string {
	w.mu.Lock()
	sent := slices.DeleteFunc(slices.Clone(w.sent), func(s string) bool { return len(s) < leastSent })
	w.mu.Unlock()
	slices.SortFunc(sent, func(a, b string) int { return len(b) - len(a) }) // one may begin with another
	for _, s := range sent {
		words = strings.ReplaceAll(words, s, "[redacted]")
	}
	for _, s := range sent {
		if before, _, cut := strings.Cut(words, s[:min(sentLead, len(s))]); cut {
			words = before + "[redacted]"
		}
	}
	return words
}
