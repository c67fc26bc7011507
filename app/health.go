package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// A check says whether one dependency lets this process take work. Its error
// text is shown to operators, so it names the thing and carries no secret.
type check struct {
	name string
	fn   func(ctx context.Context) error
}

// health answers /healthz, /readyz and /metrics.
type health struct {
	checks []check
	reg    prometheus.Gatherer

	mu       sync.Mutex
	draining bool
	last     readiness // that was found out
	lastAt   time.Time
}

// checkTimeout bounds one dependency check of one /readyz request.
const checkTimeout = 4 * time.Second

// dependency is one line of the /readyz answer.
type dependency struct {
	Name  string `json:"name"`
	Ready bool   `json:"ready"`
	Why   string `json:"why,omitempty"`
}

// readiness is the body of /readyz.
type readiness struct {
	Ready        bool         `json:"ready"`
	Dependencies []dependency `json:"dependencies"`
}

func (h *health) drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.draining = true
}

// read asks every dependency, all at once.
func (h *health) read(ctx context.Context) readiness {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	out := readiness{Ready: true, Dependencies: make([]dependency, len(h.checks))}
	var wait sync.WaitGroup
	for i, c := range h.checks {
		wait.Go(func() {
			out.Dependencies[i] = dependency{Name: c.name, Ready: true}
			if err := c.fn(ctx); err != nil {
				out.Dependencies[i] = dependency{Name: c.name, Why: err.Error()}
			}
		})
	}
	wait.Wait()
	h.mu.Lock()
	if h.draining {
		out.Dependencies = append(out.Dependencies, dependency{Name: "process", Why: "shutting down"})
	}
	h.mu.Unlock()
	for _, d := range out.Dependencies {
		out.Ready = out.Ready && d.Ready
	}
	h.mu.Lock()
	h.last, h.lastAt = out, time.Now()
	h.mu.Unlock()
	return out
}

// handler routes the three paths. /healthz stays 200 while a dependency is
// away: restarting this process would not bring Vault back.
func (h *health) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		state := h.read(r.Context())
		w.Header().Set("Content-Type", "application/json")
		if !state.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		_ = enc.Encode(state) // the asker is gone when this fails
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(h.reg, promhttp.HandlerOpts{}))
	return mux
}

// listen serves the handler until the returned stop is called, and returns the
// address it got.
func (h *health) listen(ctx context.Context, addr string) (bound string, stop func(context.Context) error, err error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return "", nil, fmt.Errorf("app: listening on LISTEN_ADDR: %w", err)
	}
	srv := &http.Server{Handler: h.handler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	stop = func(ctx context.Context) error {
		err := srv.Shutdown(ctx)
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}
	return ln.Addr().String(), stop, nil
}
