package vaultstore

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// wire is what was seen on the wire during one call, over all its attempts.
// The client of vault/api repeats writes by itself and hides the headers of an
// error; both matter for the verdict.
type wire struct {
	maybeApplied atomic.Bool  // an attempt may have taken effect without saying so
	retryAfter   atomic.Int64 // nanoseconds, from the last answer

	mu   sync.Mutex
	sent []string // by attempts that were refused; see quiet
}

type wireKey struct{}

func withWire(ctx context.Context) (context.Context, *wire) {
	w := &wire{}
	return context.WithValue(ctx, wireKey{}, w), w
}

// wireOf is that of the call which ctx belongs to.
func wireOf(ctx context.Context) *wire {
	if w, ok := ctx.Value(wireKey{}).(*wire); ok {
		return w
	}
	return &wire{}
}

// observer is the transport below vault/api.
type observer struct {
	next    http.RoundTripper
	metrics *Metrics
}

// RoundTrip performs one attempt.
func (o observer) RoundTrip(req *http.Request) (*http.Response, error) {
	var sent atomic.Bool
	trace := &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }}
	w, watched := req.Context().Value(wireKey{}).(*wire)
	attempt := req.WithContext(httptrace.WithClientTrace(req.Context(), trace))
	var body *sentBody
	if watched {
		body = watchBody(attempt)
	}
	resp, err := o.next.RoundTrip(attempt)
	o.metrics.answer(resp)
	if watched {
		w.note(resp, err, sent.Load())
		if resp != nil && resp.StatusCode >= http.StatusBadRequest {
			w.keepSent(req, body)
		}
	}
	return resp, err
}

// CloseIdleConnections passes on what http.Client asks for.
func (o observer) CloseIdleConnections() {
	if t, ok := o.next.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}

func (w *wire) note(resp *http.Response, err error, sent bool) {
	switch {
	case err != nil:
		if sent {
			w.maybeApplied.Store(true)
		}
	case resp.StatusCode == http.StatusServiceUnavailable:
		// Sealed, or a proxy without a server: nothing was done.
	case resp.StatusCode >= http.StatusInternalServerError:
		w.maybeApplied.Store(true)
	case resp.StatusCode < http.StatusMultipleChoices:
		w.maybeApplied.Store(true) // and so it stays if the rest of the answer cannot be read
	default:
		w.keepRetryAfter(resp)
	}
}

func (w *wire) keepRetryAfter(resp *http.Response) {
	value := resp.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil && seconds >= 0 {
		w.retryAfter.Store(int64(time.Duration(seconds) * time.Second))
	} else if at, err := http.ParseTime(value); err == nil {
		w.retryAfter.Store(int64(max(0, time.Until(at))))
	}
}
