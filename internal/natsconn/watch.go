package natsconn

import (
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// watcher turns the client's callbacks into log lines, counts and States.
type watcher struct {
	log     *slog.Logger
	metrics *Metrics
	onState func(State)

	nc atomic.Pointer[nats.Conn] // from opened on

	mu    sync.Mutex
	state State
	moved bool // a callback has spoken
}

func newWatcher(cfg Config) *watcher {
	return &watcher{
		log: cfg.Logger, metrics: cfg.Metrics, onState: cfg.OnState,
		state: State{Status: Reconnecting, Since: time.Now()},
	}
}

func (w *watcher) options() []nats.Option {
	return []nats.Option{
		nats.ConnectHandler(w.connected),
		nats.ReconnectHandler(w.reconnected),
		nats.DisconnectErrHandler(w.disconnected),
		nats.ReconnectErrHandler(w.stillAway),
		nats.CustomReconnectDelay(w.delay),
		nats.ClosedHandler(w.closed),
		nats.ErrorHandler(w.asyncError),
	}
}

// opened publishes the first state, unless a callback was faster: the client
// runs them on a goroutine of its own, and what they say is newer.
func (w *watcher) opened(nc *nats.Conn) {
	w.nc.Store(nc)
	up := nc.IsConnected()
	if !up {
		w.log.Warn("nats is not reachable yet, trying on")
	}
	w.change(func(s *State) {
		if up && !w.moved {
			s.Status, s.Since, s.Server = Connected, time.Now(), nc.ConnectedUrlRedacted()
		}
	})
}

func (w *watcher) connected(nc *nats.Conn) {
	w.log.Info("nats connected", "server", nc.ConnectedUrlRedacted(), "cluster", nc.ConnectedClusterName())
	w.move(nc, Connected)
}

func (w *watcher) reconnected(nc *nats.Conn) {
	w.metrics.reconnected()
	w.log.Info("nats reconnected", "server", nc.ConnectedUrlRedacted())
	w.move(nc, Connected)
}

func (w *watcher) disconnected(nc *nats.Conn, err error) {
	w.metrics.disconnected()
	if nc.IsClosed() {
		return // closed tells the rest
	}
	w.log.Warn("nats disconnected, reconnecting", "error", err)
	w.move(nc, Reconnecting)
	if err != nil {
		w.problem(err)
	}
}

func (w *watcher) stillAway(_ *nats.Conn, err error) {
	w.log.Debug("nats still away", "error", err)
	w.problem(err)
}

// delay is how long the client waits between two rounds of tries. It is also the only
// place that learns why a server that takes connections does not take us: of a
// certificate or a login that is refused no handler is told.
func (w *watcher) delay(int) time.Duration {
	if nc := w.nc.Load(); nc != nil {
		if err := nc.LastError(); err != nil {
			w.stillAway(nc, err)
		}
	}
	return reconnectWait + rand.N(reconnectJitter) //nolint:gosec // to spread the tries of many clients
}

func (w *watcher) closed(nc *nats.Conn) {
	// A nil last error is our own Close or Drain.
	if err := nc.LastError(); err != nil {
		w.log.Error("nats connection closed", "error", err)
	} else {
		w.log.Info("nats connection closed")
	}
	w.move(nc, Closed)
}

func (w *watcher) asyncError(_ *nats.Conn, sub *nats.Subscription, err error) {
	kind := kindOf(err)
	w.metrics.asyncError(kind)
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	w.log.Error("nats complained", "kind", kind, "subject", subject, "error", err)
	w.problem(err)
}

func (w *watcher) problem(err error) {
	w.change(func(s *State) { s.Problem, s.ProblemAt = err.Error(), time.Now() })
}

func (w *watcher) move(nc *nats.Conn, to Status) {
	server := ""
	if to == Connected {
		server = nc.ConnectedUrlRedacted()
	}
	w.metrics.up(to == Connected)
	w.change(func(s *State) {
		w.moved = true
		if s.Status != to {
			s.Status, s.Since = to, time.Now()
		}
		s.Server = server
	})
}

// change hands the new state out under the lock, so that observers see the
// changes in the order they happened.
func (w *watcher) change(edit func(*State)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	edit(&w.state)
	if w.onState != nil {
		w.onState(w.state)
	}
}
