package guard_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/guard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errAway = errors.New("the store is away")

// memory is a guard.Store as NATS KV is one: revisions grow over all keys, a
// deleted key has a marker with a revision of its own.
type memory struct {
	mu       sync.Mutex
	changed  *sync.Cond
	revision uint64
	values   map[string]entry
	broken   bool     // every call ends with an error
	hangs    bool     // every call takes as long as its ctx
	written  []string // everything that was saved
}

type entry struct {
	value    []byte // nil: deleted
	revision uint64
}

func newMemory() *memory {
	m := &memory{values: map[string]entry{}}
	m.changed = sync.NewCond(&m.mu)
	return m
}

// wrote reports whether something was saved that contains part.
func (m *memory) wrote(part string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.written, func(s string) bool { return strings.Contains(s, part) })
}

// away is what every call does first.
func (m *memory) away(ctx context.Context) error {
	m.mu.Lock()
	broken, hangs := m.broken, m.hangs
	m.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	if broken {
		return errAway
	}
	return ctx.Err()
}

func (m *memory) Load(ctx context.Context, key string) ([]byte, uint64, error) {
	if err := m.away(ctx); err != nil {
		return nil, 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.values[key]
	if e.value == nil {
		return nil, 0, nil
	}
	return bytes.Clone(e.value), e.revision, nil
}

func (m *memory) Save(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	if err := m.away(ctx); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.values[key]
	if e.value == nil {
		e.revision = 0
	}
	if e.revision != revision {
		return 0, errors.New("wrong last revision")
	}
	m.written = append(m.written, string(value))
	m.put(key, bytes.Clone(value))
	return m.revision, nil
}

func (m *memory) put(key string, value []byte) {
	m.revision++
	m.values[key] = entry{value, m.revision}
	m.changed.Broadcast()
}

func (m *memory) remove(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(key, nil)
}

// fail makes every call fail, hang, or work again; watches break when it fails.
func (m *memory) fail(broken, hangs bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken, m.hangs = broken, hangs
	m.changed.Broadcast()
}

func (m *memory) Watch(ctx context.Context, key string, each func([]byte, uint64)) error {
	if err := m.away(ctx); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.changed.Broadcast()
	})()
	m.mu.Lock()
	defer m.mu.Unlock()
	for first, seen := true, uint64(0); ; first = false {
		for !first && m.values[key].revision == seen && ctx.Err() == nil && !m.broken {
			m.changed.Wait()
		}
		if m.broken {
			return errAway
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		e := m.values[key]
		seen = e.revision
		m.mu.Unlock()
		each(bytes.Clone(e.value), e.revision)
		m.mu.Lock()
	}
}

// server is what the guards stand before. It notes every call that reaches it.
type server struct {
	answer func(now time.Time) guard.Answer
	takes  time.Duration

	mu    sync.Mutex
	calls []arrival
	now   map[string]int // calls under way, by replica
	most  map[string]int // most of them
}

type arrival struct {
	from       string
	at, until  time.Time
	answer     guard.Kind
	underWay   int // of all replicas, this one included
	ofPriority guard.Priority
}

func newServer(takes time.Duration, answer func(now time.Time) guard.Answer) *server {
	return &server{answer: answer, takes: takes, now: map[string]int{}, most: map[string]int{}}
}

func always(a guard.Answer) func(time.Time) guard.Answer {
	return func(time.Time) guard.Answer { return a }
}

func (s *server) call(from string, p guard.Priority) guard.Answer {
	s.mu.Lock()
	at, all := time.Now(), 0
	s.now[from]++
	s.most[from] = max(s.most[from], s.now[from])
	for _, n := range s.now {
		all += n
	}
	s.mu.Unlock()
	if s.takes > 0 {
		time.Sleep(s.takes)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now[from]--
	a := s.answer(time.Now())
	s.calls = append(s.calls, arrival{from, at, time.Now(), a.Kind, all, p})
	return a
}

// since returns the calls that arrived from then on, in the order of their ends.
func (s *server) since(from time.Time) []arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []arrival
	for _, c := range s.calls {
		if !c.at.Before(from) {
			out = append(out, c)
		}
	}
	return out
}

// replica is one process.
type replica struct {
	*guard.Guard
	name   string
	server *server
	stop   func()
}

// start starts a replica with its Run; stop ends it, at the latest with the test.
func start(t *testing.T, name string, s *server, cfg guard.Config) *replica {
	t.Helper()
	cfg.Name, cfg.Holder = "finx", name
	g, err := guard.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.Run(ctx)
	}()
	stop := sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	return &replica{g, name, s, stop}
}

// fleet starts n replicas that know of each other.
func fleet(t *testing.T, n int, s *server, cfg guard.Config) []*replica {
	t.Helper()
	cfg.Replicas = func() int { return n }
	var out []*replica
	for i := range n {
		out = append(out, start(t, fmt.Sprintf("replica-%d", i), s, cfg))
	}
	synctest.Wait()
	return out
}

// call makes one call if it may.
func (r *replica) call(ctx context.Context, p guard.Priority) error {
	end, err := r.Begin(ctx, p)
	if err != nil {
		return err
	}
	end(r.server.call(r.name, p))
	return nil
}

// keepCalling makes calls one after the other until ctx ends; where it is refused,
// it comes back when it was told to.
func (r *replica) keepCalling(ctx context.Context, p guard.Priority) {
	for ctx.Err() == nil {
		err := r.call(ctx, p)
		if until, ok := fault.Until(err); ok {
			sleep(ctx, max(time.Until(until), time.Millisecond))
		} else if r.server.takes == 0 {
			sleep(ctx, 100*time.Millisecond)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// crowd keeps n callers a replica calling until the returned function is called.
func crowd(t *testing.T, n int, p guard.Priority, replicas ...*replica) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, r := range replicas {
		for range n {
			wg.Go(func() { r.keepCalling(ctx, p) })
		}
	}
	stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	t.Cleanup(stop)
	return stop
}
