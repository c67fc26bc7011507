package main

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/vault"
)

// server is the core behind HTTP.
type server struct {
	core   *vault.Core
	http   *http.Server
	failed chan error // one error when serving ends on its own
}

func newServer(opts options, listener net.Listener, stderr io.Writer) (*server, error) {
	core, err := newCore(opts, stderr)
	if err != nil {
		return nil, err
	}
	s := &server{
		core: core,
		http: &http.Server{
			Handler: vaulthttp.Handler.Handler(&vault.HandlerProperties{
				Core: core,
				ListenerConfig: &configutil.Listener{
					Type:               "tcp",
					Address:            opts.listen,
					MaxRequestSize:     vaulthttp.DefaultMaxRequestSize,
					MaxRequestDuration: 90 * time.Second,
				},
			}),
			ReadHeaderTimeout: 10 * time.Second,
			ErrorLog:          log.New(io.Discard, "", 0),
		},
		failed: make(chan error, 1),
	}
	go func() {
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- err
		}
	}()
	return s, nil
}

// shutdown lets requests finish, then seals the core, which closes the storage.
func (s *server) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close()
	}
	_ = s.core.ShutdownWait()
}
