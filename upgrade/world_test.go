package upgrade_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/internal/streamread"
	"github.com/finx-connector/finx-connector/internal/vaulttest"
)

// vault is the real core that all tests share; each has a mount of its own.
var vault vaulttest.Shared

func TestMain(m *testing.M) { os.Exit(vault.Run(m)) }

const (
	clientID     = "fixture-client"
	clientSecret = "fixture-client-secret"
	redirectURI  = "https://app.example/callback"
	// escrowKey is of the fixtures and of nothing else.
	escrowKey = "Zml4dHVyZS1lc2Nyb3cta2V5LW9mLXRlc3RzLW9ubHk="

	within = time.Minute
)

// world is every server that a connector needs, with a door before finX and Vault.
type world struct {
	*testing.T

	env     map[string]string
	sandbox *finxtest.Sandbox
	bank    *door
	safe    *door
	vault   *vaulttest.Server
	mount   string
	js      jetstream.JetStream
	spool   string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, spool: t.TempDir()}
	// The same data on any day.
	var base string
	w.sandbox, base = finxtest.Start(t, finxtest.Options{
		ClientID: clientID, ClientSecret: clientSecret, Seed: 7, HistoryEnd: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
		Shape: finxtest.Shape{Accounts: 1, Transactions: 5, Days: 5}, RevokeOnReuse: true,
	})
	w.bank = newDoor(t, base)
	w.vault = vault.Start(t)
	w.mount = w.vault.Mount(t)
	w.safe = newDoor(t, w.vault.Addr)
	srv := natstest.Start(t)
	w.js = natstest.JetStream(t, srv.URL())
	token := w.vault.NewToken(t, map[string]any{
		"policies": []string{w.vault.Policy(t, vaulttest.KV2Rules(t, w.mount, "finx"))}, "ttl": "1h",
	})
	w.env = map[string]string{
		"NATS_URL": srv.URL(), "FINX_BASE_URL": w.bank.URL, "FINX_CLIENT_ID": clientID, "FINX_CLIENT_SECRET": clientSecret,
		"VAULT_ADDR": w.safe.URL, "VAULT_TOKEN": token, "VAULT_KV_MOUNT": w.mount, "ESCROW_KEY": escrowKey, "ESCROW_DIR": w.spool,
		"ACK_WAIT": "1s", "RETRY_DELAY_MAX": "1s", "PARK_AFTER": "1s", "FINX_TIMEOUT_TOKEN": "2s", "MAX_INPUT_BYTES": "16KiB",
	}
	return w
}

func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(w.Context(), within)
	w.Cleanup(cancel)
	return ctx
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) eventually(what string, cond func() bool) {
	w.Helper()
	natstest.Eventually(w.T, within, cond, what)
}

// publish stores a message as it is.
func (w *world) publish(subject string, header nats.Header, data []byte) *jetstream.PubAck {
	w.Helper()
	ack, err := w.js.PublishMsg(w.ctx(), &nats.Msg{Subject: subject, Header: header, Data: data})
	w.must(err)
	return ack
}

// emit publishes an input as structured CloudEvents JSON.
func (w *world) emit(typ, id string, data any) {
	w.Helper()
	body, err := events.EncodeInput(typ, id, time.Now().UTC(), events.Cause{}, data)
	w.must(err)
	w.publish(typ, nats.Header{events.HeaderContentType: {events.ContentTypeStructured}}, body)
}

// record returns that of a connection; the zero one when there is none.
func (w *world) record(id string) connection.Record {
	w.Helper()
	s, err := connectionkv.New(connectionkv.Config{JS: w.js})
	w.must(err)
	r, _, err := s.Get(w.ctx(), id)
	if !errors.Is(err, connection.ErrNotFound) {
		w.must(err)
	}
	return r
}

// value returns what is stored under a key, nil when nothing is.
func (w *world) value(bucket, key string) []byte {
	w.Helper()
	kv, err := w.js.KeyValue(w.ctx(), bucket)
	w.must(err)
	e, err := kv.Get(w.ctx(), key)
	if errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, jetstream.ErrKeyDeleted) {
		return nil
	}
	w.must(err)
	return e.Value()
}

// stored returns all messages of a stream.
func (w *world) stored(stream string) []message {
	w.Helper()
	s, err := w.js.Stream(w.ctx(), stream)
	w.must(err)
	var all []message
	for seq := s.CachedInfo().State.FirstSeq; seq > 0 && seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := streamread.At(w.ctx(), w.js, stream, seq) // a direct get would add headers of its own
		if errors.Is(err, streamread.ErrNotFound) {
			continue
		}
		w.must(err)
		all = append(all, message{stream, m.Sequence, m.Time, m.Subject, m.Header, m.Data})
	}
	return all
}

// outputs returns the events of a type about a connection, the oldest first.
func (w *world) outputs(typ, id string) []events.Output {
	w.Helper()
	var all []events.Output
	for _, m := range w.stored(events.StreamEvents) {
		o, err := events.ParseOutput(m.message())
		if err == nil && o.Type == typ && o.ConnectionID == id {
			all = append(all, o)
		}
	}
	return all
}

func (m message) message() events.Message {
	return events.Message{Subject: m.Subject, Header: m.Header, Data: m.Data, Stream: m.Stream, Sequence: m.Sequence, Time: m.Time}
}

// secret returns what is in Vault about a connection.
func (w *world) secret(id string) map[string]any {
	w.Helper()
	status, answer, err := w.vault.Try(w.ctx(), w.vault.Token, http.MethodGet, w.mount+"/data/finx/connections/"+id, nil)
	w.must(err)
	data, _ := answer["data"].(map[string]any)
	if status != http.StatusOK || data == nil {
		return nil
	}
	inner, _ := data["data"].(map[string]any)
	return inner
}

// location is that of the newest link of a connection.
func (w *world) location(id string) string {
	w.Helper()
	for _, typ := range []string{events.TypeReauthorizationRequired, events.TypeWidgetLinkCreated} {
		all := w.outputs(typ, id)
		if len(all) == 0 {
			continue
		}
		var data struct {
			Location string `json:"location"`
		}
		w.must(json.Unmarshal(all[len(all)-1].Data, &data))
		return data.Location
	}
	w.Fatalf("no link of %s", id)
	return ""
}

// approve plays the user behind a link.
func (w *world) approve(location string) *url.URL {
	w.Helper()
	back, err := w.sandbox.Approve(location)
	w.must(err)
	return back
}

// door stands before a server. deny, if set, says whether a call is turned away with
// 503, or held until its caller gives up.
type door struct {
	URL string

	mu   sync.Mutex
	deny func(r *http.Request, body []byte) verdict
}

type verdict int

const (
	pass verdict = iota
	refuse
	hold
)

func newDoor(t *testing.T, target string) *door {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	d := &door{}
	proxy := &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host },
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		switch d.ask(r, body) {
		case refuse:
			w.WriteHeader(http.StatusInternalServerError)
		case hold:
			<-r.Context().Done()
		case pass:
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	d.URL = srv.URL
	return d
}

func (d *door) ask(r *http.Request, body []byte) verdict {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.deny == nil {
		return pass
	}
	return d.deny(r, body)
}

// guard sets what the door does; nil lets everything through.
func (d *door) guard(deny func(r *http.Request, body []byte) verdict) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.deny = deny
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}
