package vaultstore

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/finx-connector/finx-connector/internal/guard"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// The ways to log in.
const (
	AuthToken      = "token"
	AuthAppRole    = "approle"
	AuthKubernetes = "kubernetes"
)

// Defaults of a Config's zero fields.
const (
	DefaultMount        = "secret"
	DefaultPrefix       = "finx"
	DefaultTransitMount = "transit"
	DefaultTimeout      = 5 * time.Second
	// DefaultMaxRecordBytes stays below what raft storage takes in one entry,
	// 1 MiB after encryption (measured); above it Vault answers 500.
	DefaultMaxRecordBytes = 960 << 10
	DefaultConcurrency    = 16
)

// Config of a Store. What is left zero comes from the environment as vault/api
// reads it (VAULT_ADDR, VAULT_TOKEN, VAULT_NAMESPACE, VAULT_CACERT,
// VAULT_CLIENT_TIMEOUT, …), then from the defaults above.
type Config struct {
	Address   string
	Namespace string // Enterprise and OpenBao; Check fails where the server would ignore it

	TLS TLS

	Auth      string // AuthToken (default), AuthAppRole or AuthKubernetes
	AuthMount string // path of the method, by default its name

	Token     secret.Text // AuthToken
	TokenFile string      // AuthToken: read again whenever the token is refused

	RoleID          string      // AuthAppRole
	SecretID        secret.Text // AuthAppRole; or
	SecretIDFile    string      // read again at every login
	SecretIDWrapped bool        // the secret id is a one-use wrapping token around it

	K8sRole    string // AuthKubernetes
	K8sJWTPath string // AuthKubernetes: read again at every login; default: the pod's token

	Mount  string // path of the KV v2 engine
	Prefix string // path below it

	TransitMount string // path of the transit engine
	TransitKey   string // name of its key for DataKey and OpenKey; empty: there is none

	Timeout        time.Duration // of one call with all its attempts
	Concurrency    int           // callers at once: as many connections are kept
	MaxRecordBytes int           // largest record, as JSON

	// Observe is told what each operation says about Vault as a whole, and each failed
	// login in the background; of Check only that Vault is away. It must not block.
	// nil: nobody is told. No operation is ever held back for it: tokens in hand must
	// always be tried.
	Observe func(guard.Answer)

	Logger  *slog.Logger // nil logs nothing
	Metrics *Metrics     // nil counts nothing
}

// TLS says how Vault's certificate is checked and which one is shown to it. The
// zero value leaves both to the environment and the system.
type TLS struct {
	CACert, CAPath        string // a PEM file, a directory of them
	ClientCert, ClientKey string // PEM files
	ServerName            string // expected in Vault's certificate
	SkipVerify            bool   // for tests only
}

// New checks the configuration and returns a Store. It makes no call: the first
// operation, or Run, logs in.
func New(c Config) (*Store, error) {
	p, err := newPaths(cmp.Or(c.Mount, DefaultMount), cmp.Or(c.Prefix, DefaultPrefix))
	if err != nil {
		return nil, err
	}
	t, err := newTransit(cmp.Or(c.TransitMount, DefaultTransitMount), c.TransitKey)
	if err != nil {
		return nil, err
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Observe == nil {
		c.Observe = func(guard.Answer) {}
	}
	method, err := c.method()
	if err != nil {
		return nil, fmt.Errorf("vaultstore: checking the configuration: %w", err)
	}
	s, err := newSession(c, method)
	if err != nil {
		return nil, err
	}
	return &Store{
		session: s, paths: p, transit: t, log: c.Logger, metrics: c.Metrics,
		maxRecord: cmp.Or(c.MaxRecordBytes, DefaultMaxRecordBytes),
		namespace: cmp.Or(c.Namespace, os.Getenv(api.EnvVaultNamespace)),
	}, nil
}

func (c Config) method() (loginMethod, error) {
	switch c.Auth {
	case "", AuthToken:
		return newTokenLogin(c)
	case AuthAppRole:
		return newAppRoleLogin(c)
	case AuthKubernetes:
		return newKubernetesLogin(c)
	}
	return nil, fmt.Errorf("auth %q is none of %s, %s, %s", c.Auth, AuthToken, AuthAppRole, AuthKubernetes)
}
