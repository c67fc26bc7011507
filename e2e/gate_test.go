package e2e_test

import (
	"bytes"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// gate stands before an HTTP server. It keeps what passes and lets a test act
// at an exact moment: when a call has arrived and not gone on yet, or when it
// was answered and the answer has not come back yet.
type gate struct {
	URL string

	mu    sync.Mutex
	hook  func(passing) (drop bool)
	reply func(passing) (status int, body string)
	seen  []passing
	count map[string]int
}

// passing is one call, seen twice: on its way in and, with Answered set, on its
// way back.
type passing struct {
	Method, Path string
	Query        url.Values
	Header       http.Header
	Body         []byte
	N            int // which call of this method and path, from 1
	Answered     bool
	Status       int
	Answer       []byte
}

// is reports whether the call goes to a path that ends like this.
func (p passing) is(method, suffix string) bool {
	return p.Method == method && strings.HasSuffix(p.Path, suffix)
}

// newGate starts a gate before the server at target. keep says whether bodies
// are kept: the pages of a large history are not.
func newGate(t testing.TB, target string) *gate {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{count: map[string]int{}}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host // links of the sandbox lead back through the gate
		},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // calls cut off are what the gate is for
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.pass(proxy, w, r) }))
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	g.URL = srv.URL
	return g
}

func (g *gate) pass(next http.Handler, w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	p := passing{Method: r.Method, Path: r.URL.Path, Query: r.URL.Query(), Header: r.Header.Clone(), Body: body}
	g.mu.Lock()
	key := p.Method + " " + p.Path
	g.count[key]++
	p.N = g.count[key]
	g.mu.Unlock()
	if g.show(p) {
		panic(http.ErrAbortHandler)
	}
	g.mu.Lock()
	reply := g.reply
	g.mu.Unlock()
	if reply != nil {
		if status, text := reply(p); status != 0 {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
			return
		}
	}
	answer := httptest.NewRecorder()
	// The caller may be killed meanwhile; the call takes effect all the same.
	serve(next, answer, r)
	p.Answered, p.Status, p.Answer = true, answer.Code, answer.Body.Bytes()
	if g.show(p) {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(p.Answer)
}

// serve lets a call through that ends however its caller does. A connection
// that the server behind drops on purpose is dropped here too.
func serve(next http.Handler, w *httptest.ResponseRecorder, r *http.Request) {
	next.ServeHTTP(w, r.WithContext(withoutCancel(r.Context())))
	if w.Code == http.StatusBadGateway && w.Body.Len() == 0 {
		panic(http.ErrAbortHandler)
	}
}

// show keeps a call and asks the hook about it.
func (g *gate) show(p passing) bool {
	g.mu.Lock()
	hook := g.hook
	kept := p
	if len(kept.Answer) > 256<<10 {
		kept.Answer = nil
	}
	g.seen = append(g.seen, kept)
	g.mu.Unlock()
	return hook != nil && hook(p)
}

// on sets the hook; nil takes it away.
func (g *gate) on(hook func(passing) (drop bool)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hook = hook
}

// answer lets f answer calls in the server's place; a status of 0 lets one pass.
func (g *gate) answer(f func(passing) (status int, body string)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reply = f
}

// answered returns the calls that were answered, of one method and path.
func (g *gate) answered(method, suffix string) []passing {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []passing
	for _, p := range g.seen {
		if p.Answered && p.is(method, suffix) {
			out = append(out, p)
		}
	}
	return out
}
