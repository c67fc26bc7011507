package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/finx-connector/finx-connector/app"
	"github.com/finx-connector/finx-connector/internal/vaultdev"
	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

// keeper is where the secrets of this run are kept.
type keeper struct {
	store   app.Secrets       // the in-memory keeper; nil when a Vault is used
	env     map[string]string // settings that lead to a Vault
	lasting bool              // the secrets are still there at the next start
	stop    func()
}

// startKeeper picks the secret store: a Vault that runs already, the real Vault
// core built and started here, or the in-memory keeper, which says so.
func startKeeper(ctx context.Context, c config, p *printer) (keeper, error) {
	switch {
	case c.vaultAddr != "":
		p.stepf("secrets: Vault at %s, as VAULT_ADDR says", c.vaultAddr)
		return keeper{lasting: true, stop: func() {}}, nil
	case c.vaultCore:
		return startVault(ctx, c, p)
	}
	p.stepf("secrets: in memory, for this run only (VAULT=1 for the real Vault core)")
	return keeper{store: vaultstoretest.NewMemory(), stop: func() {}}, nil
}

// escrowKey is the default of VAULT_TRANSIT_KEY.
const escrowKey = "finx-escrow"

// startVault builds the Vault core, which takes minutes once a machine, and
// starts it with raft storage and the Transit engine.
func startVault(ctx context.Context, c config, p *printer) (keeper, error) {
	here, err := os.Getwd()
	if err != nil {
		return keeper{}, err
	}
	root, err := vaultdev.Root(here)
	if err != nil {
		return keeper{}, fmt.Errorf("finding the sources of the Vault core: %w", err)
	}
	p.stepf("secrets: the real Vault core, raft storage; the first build on a machine takes some minutes")
	binary, err := vaultdev.Binary(ctx, root, os.Stderr)
	if err != nil {
		return keeper{}, fmt.Errorf("building the Vault core: %w", err)
	}
	proc, err := vaultdev.Start(ctx, binary, "-listen", "127.0.0.1:0", "-storage", "raft", "-path", filepath.Join(c.state, "vault"))
	if err != nil {
		return keeper{}, fmt.Errorf("starting the Vault core: %w", err)
	}
	if err := proc.TransitKey(ctx, escrowKey); err != nil {
		return keeper{}, errors.Join(err, proc.Stop())
	}
	p.stepf("secrets: Vault is unsealed at %s", proc.Addr)
	return keeper{
		env:     map[string]string{"VAULT_ADDR": proc.Addr, "VAULT_TOKEN": proc.Token},
		lasting: true,
		stop:    func() { _ = proc.Stop() },
	}, nil
}
