package natsconn

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/finx-connector/finx-connector/internal/natstest"
)

const canary = "c4n4ry-p4ssw0rd"

func connect(t *testing.T, cfg Config) *nats.Conn {
	t.Helper()
	closed := make(chan struct{})
	observe := cfg.OnState
	var once sync.Once
	cfg.OnState = func(s State) {
		if observe != nil {
			observe(s)
		}
		if s.Status == Closed {
			once.Do(func() { close(closed) })
		}
	}
	nc, err := Connect(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close(); <-closed })
	return nc
}

func TestOutageIsRiddenOutAndSeen(t *testing.T) {
	srv := natstest.Start(t)
	var tracker Tracker
	metrics := NewMetrics(prometheus.NewRegistry())
	nc := connect(t, Config{URL: srv.URL(), OnState: tracker.Observe, Metrics: metrics, Logger: slog.New(slog.DiscardHandler)})
	wait := func(want Status) {
		natstest.Eventually(t, 20*time.Second, func() bool { return tracker.State().Status == want }, string(want))
	}
	wait(Connected)
	if err := tracker.State().Err(); err != nil || tracker.State().Server == "" {
		t.Errorf("connected: %v %+v", err, tracker.State())
	}
	srv.Stop()
	wait(Reconnecting)
	if err := tracker.State().Err(); err == nil || !strings.Contains(err.Error(), "reconnecting since") {
		t.Errorf("away: %v", err)
	}
	// Nothing may be taken into a buffer that can be lost.
	natstest.Eventually(t, 10*time.Second, func() bool { return nc.Publish("x", nil) != nil }, "publishing while away fails")
	srv.Restart()
	wait(Connected)
	natstest.Eventually(t, 10*time.Second, func() bool { return nc.Publish("x", nil) == nil }, "publishing works again")
	if n := testutil.ToFloat64(metrics.reconnects); n != 1 {
		t.Errorf("%v reconnects counted", n)
	}
	if n := testutil.ToFloat64(metrics.connectedGauge); n != 1 {
		t.Errorf("gauge %v", n)
	}
}

func TestBrokerDownAtTheStartIsNoError(t *testing.T) {
	srv := natstest.Start(t)
	srv.Stop()
	var tracker Tracker
	connect(t, Config{URL: srv.URL(), OnState: tracker.Observe, Logger: slog.New(slog.DiscardHandler)})
	if got := tracker.State().Status; got != Reconnecting {
		t.Errorf("status %s", got)
	}
	srv.Restart()
	natstest.Eventually(t, 20*time.Second, func() bool { return tracker.State().Status == Connected }, "connected")
}

func TestPermissionViolationIsKept(t *testing.T) {
	srv := natstest.Start(t, natstest.WithOptions(func(o *server.Options) {
		o.Users = []*server.User{{Username: "u", Password: canary, Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: []string{"allowed"}},
		}}}
	}))
	var tracker Tracker
	var logged bytes.Buffer
	metrics := NewMetrics(prometheus.NewRegistry())
	url := strings.Replace(srv.URL(), "nats://", "nats://u:"+canary+"@", 1)
	nc := connect(t, Config{URL: url, OnState: tracker.Observe, Metrics: metrics, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	if err := nc.Publish("forbidden", nil); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, 10*time.Second, func() bool { return strings.Contains(tracker.State().Problem, "forbidden") }, "violation kept")
	if n := testutil.ToFloat64(metrics.asyncErrors.WithLabelValues(kindPermission)); n != 1 {
		t.Errorf("%v violations counted", n)
	}
	if err := tracker.State().Err(); err != nil {
		t.Errorf("a violation is no outage: %v", err)
	}
	nc.Close()
	natstest.Eventually(t, 10*time.Second, func() bool { return tracker.State().Status == Closed }, "closed")
	if text := logged.String() + fmt.Sprintf("%+v", tracker.State()); strings.Contains(text, canary) {
		t.Errorf("the password was logged: %s", text)
	}
}

func TestInboxPrefix(t *testing.T) {
	nc := connect(t, Config{URL: natstest.Start(t).URL(), Logger: slog.New(slog.DiscardHandler)})
	if got := nc.NewRespInbox(); !strings.HasPrefix(got, DefaultInboxPrefix+".") {
		t.Errorf("inbox %s", got)
	}
}

func TestNkeySeedFile(t *testing.T) {
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, _ := user.PublicKey()
	seed, _ := user.Seed()
	srv := natstest.Start(t, natstest.WithOptions(func(o *server.Options) {
		o.Nkeys = []*server.NkeyUser{{Nkey: public}}
	}))
	path := write(t, "user.nk", string(seed))
	nc := connect(t, Config{URL: srv.URL(), NkeySeedFile: path, Logger: slog.New(slog.DiscardHandler)})
	natstest.Eventually(t, 10*time.Second, nc.IsConnected, "connected with the nkey")
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMistakesNameTheSetting(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	text := write(t, "text", canary)
	const url = "nats://127.0.0.1:1"
	for name, tc := range map[string]struct {
		cfg  Config
		want string
	}{
		"no url":              {Config{}, "reading NATS_URL: it is empty"},
		"url with a password": {Config{URL: "nats://ok:4222,nats://u:" + canary + "/x@host"}, "reading NATS_URL: entry 2"},
		"no host":             {Config{URL: "nats://"}, "reading NATS_URL: entry 1"},
		"creds missing":       {Config{URL: url, CredsFile: missing}, "reading NATS_CREDS: open"},
		"creds hold nothing":  {Config{URL: url, CredsFile: text}, "reading NATS_CREDS: the file holds no user"},
		"seed missing":        {Config{URL: url, NkeySeedFile: missing}, "reading NATS_NKEY_SEED_FILE: open"},
		"seed holds nothing":  {Config{URL: url, NkeySeedFile: text}, "reading NATS_NKEY_SEED_FILE: the file holds no user"},
		"two identities":      {Config{URL: url, NkeySeedFile: text, CredsFile: text}, "NATS_CREDS and NATS_NKEY_SEED_FILE are both set"},
		"ca missing":          {Config{URL: url, CAFile: missing}, "reading NATS_CA: open"},
		"ca holds nothing":    {Config{URL: url, CAFile: text}, "holds no PEM certificate"},
		"cert without key":    {Config{URL: url, CertFile: text}, "NATS_CERT and NATS_KEY go together"},
		"key missing":         {Config{URL: url, CertFile: text, KeyFile: missing}, "reading NATS_KEY: open"},
		"cert holds nothing":  {Config{URL: url, CertFile: text, KeyFile: text}, "reading NATS_CERT and NATS_KEY"},
	} {
		nc, err := Connect(tc.cfg)
		if nc != nil {
			nc.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", name, err, tc.want)
		}
		if err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the error quotes a secret: %v", name, err)
		}
	}
}

func TestZeroTrackerIsNotReady(t *testing.T) {
	var tracker Tracker
	if tracker.State().Err() == nil {
		t.Error("ready before anything was observed")
	}
}
