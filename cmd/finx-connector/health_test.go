package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// healthServer answers like a process on addr, and returns its port.
func healthServer(t *testing.T, addr string, status int, body string) string {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Skipf("this host cannot listen on %s: %v", addr, err)
	}
	srv := &httptest.Server{Listener: ln, Config: &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	})}}
	srv.Start()
	t.Cleanup(srv.Close)
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return port
}

func TestHealthUnderstandsEveryListenAddr(t *testing.T) {
	for listen, asked := range map[string][]string{
		":0":          {":", "0.0.0.0:", "[::]:", "127.0.0.1:", "localhost:"},
		"127.0.0.1:0": {":", "0.0.0.0:", "[::]:", "127.0.0.1:"},
		"[::1]:0":     {":", "0.0.0.0:", "[::]:", "[::1]:"},
	} {
		t.Run(listen, func(t *testing.T) {
			port := healthServer(t, listen, http.StatusOK, "ok\n")
			for _, host := range asked {
				r := &rig{env: map[string]string{"LISTEN_ADDR": host + port, "HTTP_PROXY": "http://127.0.0.1:1"}}
				if got := r.run(t, "health").done(t); got.stdout != "ok\n" || got.stderr != "" {
					t.Errorf("%s: %q %q", host, got.stdout, got.stderr)
				}
			}
		})
	}
}

// A container's settings may be in files that the health check cannot read, or
// be replaced just now.
func TestHealthNeedsNoOtherSetting(t *testing.T) {
	port := healthServer(t, "127.0.0.1:0", http.StatusOK, "ok\n")
	r := &rig{env: map[string]string{
		"LISTEN_ADDR": "127.0.0.1:" + port, "FINX_CLIENT_SECRET_FILE": "/no/such/file", "ACK_WAIT": "soon", "VAULT_AUTH": "kubernetes",
	}}
	r.run(t, "health").done(t)
}

func TestHealthSaysWhatIsInTheWay(t *testing.T) {
	r := applied(t).withServers(t)
	r.env["LISTEN_ADDR"] = freeAddr(t)
	r.run(t, "health").exits(t, exitFailed).complains(t, "finx-connector: health: asking LISTEN_ADDR "+r.env["LISTEN_ADDR"], "refused")

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var stdout, stderr buffer
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"serve"}, r.system(strings.NewReader(""), &stdout, &stderr)) }()
	defer func() { stop(); <-ended }()
	listening(t, &stderr)

	r.run(t, "health").done(t).prints(t, "ok")
	r.run(t, "health", "--ready").exits(t, exitFailed).
		prints(t, "DEPENDENCY", "nats", "yes", "vault", "no").
		complains(t, "finx-connector: health: not ready: ", "vault: ").hides(t, "canary")
	got := decodeJSON[verdict](t, r.run(t, "health", "--ready", "-o", "json").exits(t, exitFailed))
	i := slices.IndexFunc(got.Dependencies, func(d healthDependency) bool { return d.Name == "vault" })
	if got.OK || got.Path != "/readyz" || i < 0 || got.Dependencies[i].Ready || got.Dependencies[i].Why == "" {
		t.Errorf("%+v", got)
	}
}

func TestHealthOfAReadyProcess(t *testing.T) {
	body, err := json.Marshal(map[string]any{"ready": true, "dependencies": []healthDependency{{Name: "nats", Ready: true}}})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{env: map[string]string{"LISTEN_ADDR": "127.0.0.1:" + healthServer(t, "127.0.0.1:0", http.StatusOK, string(body))}}
	r.run(t, "health", "--ready").done(t).prints(t, "nats", "yes")
	if got := decodeJSON[verdict](t, r.run(t, "health", "-o", "json").done(t)); !got.OK || got.Path != "/healthz" {
		t.Errorf("%+v", got)
	}
}

func TestHealthRefuses(t *testing.T) {
	stuck, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Close() //nolint:errcheck // nothing was written
	for name, tc := range map[string]struct {
		addr, complaint string
		args            []string
		code            int
	}{
		"somebody else's port": {"127.0.0.1:" + healthServer(t, "127.0.0.1:0", http.StatusNotFound, "?"), "/healthz on 127.0.0.1:", nil, exitFailed},
		"no answer":            {stuck.Addr().String(), "deadline exceeded", []string{"--timeout", "50ms"}, exitFailed},
		"port 0":               {":0", "name one", nil, exitFailed},
		"no address":           {"8080", "LISTEN_ADDR (environment): not allowed", nil, exitUsage},
		"no time":              {":1", "--timeout must be above 0", []string{"--timeout", "0s"}, exitUsage},
	} {
		r := &rig{env: map[string]string{"LISTEN_ADDR": tc.addr}}
		got := r.run(t, append([]string{"health"}, tc.args...)...).exits(t, tc.code).complains(t, tc.complaint)
		if got.stdout != "" {
			t.Errorf("%s prints %q", name, got.stdout)
		}
	}
}

// freeAddr is an address on which nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() //nolint:errcheck // nothing was written
	return ln.Addr().String()
}
