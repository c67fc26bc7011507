package main

import (
	"fmt"
	"io"
	"net"

	log "github.com/hashicorp/go-hclog"
	kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/audit"
	auditfile "github.com/hashicorp/vault/builtin/audit/file"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/physical/raft"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

func newCore(opts options, stderr io.Writer) (*vault.Core, error) {
	level := log.Off
	if opts.verbose {
		level = log.Info
	}
	logger := log.New(&log.LoggerOptions{Name: "vault", Level: level, Output: stderr})
	backend, err := newBackend(opts, logger)
	if err != nil {
		return nil, fmt.Errorf("opening %s storage: %w", opts.storage, err)
	}
	secrets := map[string]logical.Factory{"kv": kv.Factory, "transit": transit.Factory}
	auth := map[string]logical.Factory{"approle": approle.Factory, "kubernetes": kubernetes.Factory}
	conf := &vault.CoreConfig{
		Physical:           backend,
		StorageType:        opts.storage,
		LogicalBackends:    secrets,
		CredentialBackends: auth,
		AuditBackends:      map[string]audit.Factory{"file": auditfile.Factory},
		BuiltinRegistry:    builtins{secrets: secrets, auth: auth},
		DisableMlock:       true, // memory locking needs a capability no test has
		Logger:             logger,
		ClusterName:        "vaultdev",
	}
	if opts.storage != "raft" {
		return vault.NewCore(conf)
	}
	return newRaftCore(conf, backend, opts.listen)
}

// newRaftCore gives the core what a raft node needs even when it is alone: a
// lock (raft's own leadership) and addresses for its clients and its peers.
func newRaftCore(conf *vault.CoreConfig, backend physical.Backend, apiAddr string) (*vault.Core, error) {
	ha, ok := backend.(physical.HABackend)
	if !ok {
		return nil, fmt.Errorf("raft storage without leadership: %T", backend)
	}
	peers, err := freeAddress()
	if err != nil {
		return nil, err
	}
	conf.HAPhysical = ha
	conf.RedirectAddr = "http://" + apiAddr
	conf.ClusterAddr = "https://" + peers.String()
	core, err := vault.NewCore(conf)
	if err != nil {
		return nil, err
	}
	core.SetClusterListenerAddrs([]*net.TCPAddr{peers})
	return core, nil
}

func newBackend(opts options, logger log.Logger) (physical.Backend, error) {
	switch opts.storage {
	case "file":
		return file.NewFileBackend(map[string]string{"path": opts.path}, logger)
	case "raft":
		return raft.NewRaftBackend(map[string]string{
			"path":    opts.path,
			"node_id": "vaultdev",
			// The default of 5 suits slow networks; alone, 1 elects in 2.4 s instead of 9.5 s.
			"performance_multiplier": "1",
		}, logger)
	}
	return inmem.NewInmem(nil, logger)
}

// freeAddress finds a loopback port for raft's peer listener, which opens its
// port itself and cannot be handed a listener.
func freeAddress() (*net.TCPAddr, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("finding a port for raft: %w", err)
	}
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return nil, fmt.Errorf("finding a port for raft: %T", l.Addr())
	}
	return addr, l.Close()
}
