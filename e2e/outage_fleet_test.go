package e2e_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// fleet is two connectors of one installation, each with a door of its own to finX.
type fleet struct {
	*rig
	members []*member
}

// member is one connector of a fleet.
type member struct {
	door *door
	addr string // of its health server
}

func newFleet(r *rig) *fleet {
	r.t.Helper()
	f := &fleet{rig: r}
	for range 2 {
		m := &member{door: newDoor(r.t, r.base)}
		own := *r
		own.env = maps.Clone(r.env)
		own.env["FINX_BASE_URL"] = m.door.URL
		m.addr, _ = own.startAt()
		f.members = append(f.members, m)
	}
	return f
}

// behave has finX fare alike for everybody from now on.
func (f *fleet) behave(m manner) {
	for _, one := range f.members {
		one.door.behave(m)
	}
}

// calls returns what has arrived at the doors since then, in the order of its arrival.
func (f *fleet) calls(since time.Time) (all []arrival) {
	for _, m := range f.members {
		all = append(all, m.door.since(since)...)
	}
	slices.SortFunc(all, func(a, b arrival) int { return a.at.Compare(b.at) })
	return all
}

// says waits until the readiness of all members names these parts.
func (f *fleet) says(status int, parts ...string) {
	f.t.Helper()
	for _, m := range f.members {
		f.ready(&process{addr: m.addr}, status, parts...)
	}
}

// manner is how finX fares behind a door.
type manner int

const (
	well    manner = iota
	away           // connections are cut when a call has come
	hangs          // no answer, for as long as that lasts
	proxied        // a proxy answers in its place
)

func (m manner) String() string { return [...]string{"well", "cut off", "hangs", "502"}[m] }

// arrival is one call that came to a door.
type arrival struct {
	passing

	at       time.Time
	spends   string // the code or refresh token in it
	answered time.Time
	status   int
}

// isExchange tells the calls that a dying code waits for.
func (a arrival) isExchange() bool {
	return a.spends != "" && strings.Contains(string(a.Body), "authorization_code")
}

// door is a gate that notes when what came, and at which finX can be away.
type door struct {
	*gate

	mu     sync.Mutex
	manner manner
	over   chan struct{} // closed when that ends
	log    []arrival
}

func newDoor(t testing.TB, target string) *door {
	t.Helper()
	d := &door{gate: newGate(t, target), over: make(chan struct{})}
	t.Cleanup(func() { d.behave(well) })
	d.on(d.passes)
	d.answer(func(passing) (int, string) {
		if d.now() == proxied {
			return http.StatusBadGateway, "<html><h1>Bad Gateway</h1>"
		}
		return 0, ""
	})
	return d
}

func (d *door) now() manner {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.manner
}

// behave changes how finX fares, also for calls that hang.
func (d *door) behave(m manner) {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.over)
	d.manner, d.over = m, make(chan struct{})
}

func (d *door) passes(p passing) (drop bool) {
	d.mu.Lock()
	if p.Answered {
		for i, a := range d.log {
			if a.Method == p.Method && a.Path == p.Path && a.N == p.N {
				d.log[i].answered, d.log[i].status = time.Now(), p.Status
			}
		}
		d.mu.Unlock()
		return false
	}
	d.log = append(d.log, arrival{passing: p, at: time.Now(), spends: spent(p)})
	m, over := d.manner, d.over
	d.mu.Unlock()
	if m == hangs {
		<-over
	}
	return m == away || m == hangs
}

func (d *door) since(begin time.Time) (out []arrival) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.log {
		if !a.at.Before(begin) {
			out = append(out, a)
		}
	}
	return out
}

// busiestWindow is the most calls within any such time.
func busiestWindow(calls []arrival, window time.Duration) (most int) {
	for first, last := 0, 0; last < len(calls); last++ {
		for calls[last].at.Sub(calls[first].at) >= window {
			first++
		}
		most = max(most, last-first+1)
	}
	return most
}

// sendAll publishes many events of a type, each under an id of its own.
func (r *rig) sendAll(typ string, data []map[string]any) (ids []string) {
	r.t.Helper()
	var acks []jetstream.PubAckFuture
	for _, one := range data {
		id := events.NewUUID()
		msg := &nats.Msg{Subject: r.codec.Subject(typ), Data: encode(r.t, one), Header: nats.Header{events.HeaderMsgID: {id}}}
		ack, err := r.js.PublishMsgAsync(msg)
		if err != nil {
			r.t.Fatal(err)
		}
		ids, acks = append(ids, id), append(acks, ack)
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			r.t.Fatal(err)
		}
	}
	return ids
}

// amount is how many events of a type the broker has, read off the stream: an
// observer would look at thousands for each that comes.
func (r *rig) amount(typ string) int {
	r.t.Helper()
	stream, err := r.js.Stream(r.t.Context(), events.StreamOf(typ))
	if err != nil {
		r.t.Fatal(err)
	}
	subject := r.codec.Subject(typ)
	info, err := stream.Info(r.t.Context(), jetstream.WithSubjectFilter(subject))
	if err != nil {
		r.t.Fatal(err)
	}
	return int(info.State.Subjects[subject])
}

// amounts waits until there are so many.
func (r *rig) amounts(limit time.Duration, typ string, n int) {
	r.t.Helper()
	got := 0
	defer func() {
		if r.t.Failed() {
			r.t.Logf("%d of %d %s", got, n, typ)
		}
	}()
	natstest.Eventually(r.t, limit, func() bool {
		got = r.amount(typ)
		return got >= n
	}, typ)
}

// lane asks the broker how a lane stands.
func (r *rig) lane(durable string) *jetstream.ConsumerInfo {
	r.t.Helper()
	c, err := r.js.Consumer(r.t.Context(), lanesOfWork()[durable], durable)
	if err != nil {
		r.t.Fatal(err)
	}
	return c.CachedInfo()
}

// counts waits until the broker counts so many events for a lane, which it does a
// moment after it has acknowledged them.
func (r *rig) counts(durable string, n int) {
	r.t.Helper()
	natstest.Eventually(r.t, within, func() bool { return r.lane(durable).NumPending == uint64(n) }, durable+" has its events")
}
