package finxtest

import (
	"net/http"
)

// listTransactions answers both transaction lists. No total is given, as finX
// gives none.
func (s *Sandbox) listTransactions(w http.ResponseWriter, r *http.Request) {
	g := grantFrom(r)
	s.mu.Lock()
	all := g.user.accounts()
	s.mu.Unlock()
	q, bad := parseQuery(r.URL.Query(), all)
	if len(bad) > 0 {
		writeInvalid(w, bad)
		return
	}
	if s.opts.MaxCount > 0 {
		q.count = min(q.count, s.opts.MaxCount)
	}
	var shown []*account
	for _, a := range all {
		if q.wants(r, a) {
			shown = append(shown, a)
		}
	}
	if r.PathValue("id") != "" && len(shown) == 0 {
		writeError(w, http.StatusNotFound, codeNotFound, "Not Found", nil)
		return
	}
	refs := page(shown, q)
	s.mu.Lock()
	s.stats.TransactionsServed += len(refs)
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	writeTransactions(w, refs, q.cents)
}

// flushBytes is how much of a page is held before it goes to the client.
const flushBytes = 64 << 10

// writeTransactions streams the envelope, so a page of any size needs little memory.
func writeTransactions(w http.ResponseWriter, refs []ref, cents bool) {
	b := append(make([]byte, 0, 2*flushBytes), `{"transactions":[`...)
	for i, t := range refs {
		if i > 0 {
			b = append(b, ',')
		}
		b = t.append(b, cents)
		if len(b) >= flushBytes {
			if _, err := w.Write(b); err != nil {
				return // the client has gone
			}
			b = b[:0]
		}
	}
	_, _ = w.Write(append(b, "]}"...))
}

func (t ref) append(dst []byte, cents bool) []byte {
	if t.pending {
		return t.account.appendPending(dst, t.item, cents)
	}
	return t.account.appendTransaction(dst, t.item, cents)
}

// oneTransaction answers a single transaction.
func (s *Sandbox) oneTransaction(w http.ResponseWriter, r *http.Request) {
	g := grantFrom(r)
	s.mu.Lock()
	all := g.user.accounts()
	s.mu.Unlock()
	cents := r.URL.Query().Get("cents")
	for _, a := range all {
		if id := r.PathValue("id"); id != "" && id != a.id {
			continue
		}
		if i, pending, ok := a.find(r.PathValue("tid")); ok {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(ref{a, i, pending}.append(nil, cents == "true" || cents == "1"))
			return
		}
	}
	writeError(w, http.StatusNotFound, codeNotFound, "Not Found", nil)
}
