package natsconn

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/finx-connector/finx-connector/internal/certtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

func TestLookingAtAConnection(t *testing.T) {
	a := certtest.NewAuthority(t)
	pair := a.Server().Load(t)
	srv := natstest.Start(t, natstest.MaxPayload(70000), natstest.WithOptions(func(o *server.Options) {
		o.TLS, o.TLSTimeout, o.ServerName = true, 5, "n1"
		o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
	}))
	nc := connect(t, Config{URL: srv.URL(), CAFile: a.File, Logger: slog.New(slog.DiscardHandler)})
	natstest.Eventually(t, 10*time.Second, nc.IsConnected, "connected")
	f, err := Look(t.Context(), nc)
	if err != nil || f.Server != "n1" || f.Version != server.VERSION || f.TLS != "TLS 1.3" || !f.Loopback || f.Login || f.MaxPayload != 70000 || f.RTT <= 0 || f.Cluster != "" {
		t.Errorf("%+v, %v", f, err)
	}
	if left := time.Until(f.CertEnd); left < 50*time.Minute || left > time.Hour {
		t.Errorf("the certificate ends in %s", left)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Look(ctx, nc); err == nil {
		t.Error("no error from a look that was given up")
	}
}

// TestOneTry: where Connect would go on for ever, Once says why not, and sorts it.
func TestOneTry(t *testing.T) {
	open := natstest.Start(t)
	locked := natstest.Start(t, natstest.WithOptions(func(o *server.Options) { o.Username, o.Password = "u", "p" }))
	a := certtest.NewAuthority(t)
	pair := a.Server().Load(t)
	secure := natstest.Start(t, natstest.WithOptions(func(o *server.Options) {
		o.TLS, o.TLSTimeout, o.TLSConfig = true, 5, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}))
	for name, tt := range map[string]struct {
		url  string
		want Reason
	}{
		"nobody":            {"nats://127.0.0.1:1", ReasonAway},
		"wrong password":    {"nats://u:" + canary + "@" + strings.TrimPrefix(locked.URL(), "nats://"), ReasonLogin},
		"no password":       {locked.URL(), ReasonLogin},
		"strange issuer":    {"tls://" + strings.TrimPrefix(secure.URL(), "tls://"), ReasonTLS},
		"no TLS there":      {"tls://" + strings.TrimPrefix(open.URL(), "nats://"), ReasonTLS},
		"no address":        {"://", ReasonFiles},
		"one of them is on": {"nats://127.0.0.1:1," + open.URL(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			nc, err := Connect(Config{URL: tt.url, Logger: slog.New(slog.DiscardHandler)}.Once(2 * time.Second))
			if tt.want == "" {
				if err != nil || !nc.IsConnected() {
					t.Fatal(err)
				}
				nc.Close()
				return
			}
			if err == nil {
				nc.Close()
				t.Fatal("connected")
			}
			if got := WhyNot(err); got != tt.want || strings.Contains(err.Error(), canary) {
				t.Errorf("%v: %s, want %s", err, got, tt.want)
			}
		})
	}
}

func TestReachingEachAddress(t *testing.T) {
	srv := natstest.Start(t)
	found := Reach(t.Context(), srv.URL()+", 127.0.0.1:1,nats://u:"+canary+"@[::1]:2,://"+canary)
	if len(found) != 4 || found[0].Err != nil || found[1].Err == nil || found[1].Host != "127.0.0.1:1" || found[2].Host != "[::1]:2" || found[3].Err == nil {
		t.Fatalf("%+v", found)
	}
	for _, a := range found {
		if strings.Contains(a.Host, canary) || a.Err != nil && strings.Contains(a.Err.Error(), canary) {
			t.Errorf("%+v shows a password", a)
		}
	}
}

// TestARefusalEndsTheRequest: it need not wait for its time-out, and says what was
// refused; the next request is not blamed for it.
func TestARefusalEndsTheRequest(t *testing.T) {
	admin, url := withUsers(t, &server.SubjectPermission{Allow: []string{"may"}})
	if _, err := admin.Conn().Subscribe("may", func(m *nats.Msg) { _ = m.Respond(nil) }); err != nil {
		t.Fatal(err)
	}
	var c Complaints
	nc := connect(t, Config{URL: url, OnState: c.Observe, Logger: slog.New(slog.DiscardHandler)})
	natstest.Eventually(t, 10*time.Second, nc.IsConnected, "connected")
	ask := func(subject string) error {
		return c.During(t.Context(), func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			_, err := nc.RequestWithContext(ctx, subject, nil)
			return err
		})
	}
	for range 3 {
		began := time.Now()
		if err := ask("may.not"); !errors.Is(err, ErrForbidden) || !strings.Contains(err.Error(), `Publish to "may.not"`) || time.Since(began) > 10*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		if err := ask("may"); err != nil {
			t.Error(err)
		}
	}
}

func TestTheMonitoringPort(t *testing.T) {
	for _, always := range []bool{true, false} {
		srv := natstest.Start(t, natstest.WithOptions(func(o *server.Options) {
			o.HTTPHost, o.HTTPPort, o.SyncAlways = "127.0.0.1", server.RANDOM_PORT, always
		}))
		got, err := AskMonitor(t.Context(), "http://"+srv.Raw().MonitorAddr().String()+"/")
		if err != nil || got.Always != always || got.Interval <= 0 && !always {
			t.Errorf("%+v, %v", got, err)
		}
	}
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	for url, want := range map[string]string{
		other.URL: "status 404", "nats://x:1": "not of the form", "": "not of the form", "http://127.0.0.1:1": "refused",
	} {
		if _, err := AskMonitor(t.Context(), url); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", url, err)
		}
	}
}
