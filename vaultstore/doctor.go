package vaultstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
)

// Diagnosis is what Vault says of itself and of us. It is gathered from top to
// bottom, and what could not be asked any more is nil. No secret is in it.
type Diagnosis struct {
	Reached error         // why there is no answer of Vault; nil: it answers
	Latency time.Duration // of that answer, with the connection made for it
	CertEnd time.Time     // of the server's certificate; zero without TLS
	Server  *ServerFacts

	Login error       // why there is no living token
	Token *TokenFacts // nil also where the token may not look at itself

	Mount  error // why records cannot be kept there; errors.Is(err, ErrNoKV2) for another engine
	KV     *MountFacts
	Rights *Rights // nil also where the token may not ask for its rights

	Transit error // of making a data key and opening it again; ErrNoTransit when no key is configured
}

// ServerFacts are those of the server that answered.
type ServerFacts struct {
	Version, Cluster                         string
	Initialized, Sealed, Standby, Enterprise bool
	Namespace                                error     // why the namespace would be ignored
	Time                                     time.Time // its clock, to the second
	Heard                                    time.Time // ours, when it was read
}

// TokenFacts are what the token says of itself.
type TokenFacts struct {
	Policies    []string
	Type        string        // service or batch
	TTL         time.Duration // left; 0 = it never ends
	ExplicitMax time.Duration // 0 = that of the system or the mount
	Period      time.Duration // renewed for ever by this much; 0 = not
	Renewable   bool
	Uses        int // left; 0 = unlimited
}

// MountFacts are those of the KV engine.
type MountFacts struct {
	Path        string
	Visible     bool // the policies let us read the rest
	CASRequired bool
	MaxVersions int
}

// ErrNoKV2 says that something else than a KV v2 engine is mounted.
var ErrNoKV2 = errors.New("no KV v2 engine")

// Diagnose asks Vault everything that doctor wants to know. It takes a login if there
// was none, and writes nothing; it makes a data key, which Vault does not keep.
func (s *Store) Diagnose(ctx context.Context) Diagnosis {
	var d Diagnosis
	d.Server, d.Reached = s.askServer(ctx, &d)
	if d.Reached != nil || d.Server.Sealed || !d.Server.Initialized {
		return d
	}
	d.Server.Namespace = s.checkNamespace(ctx)
	if _, d.Login = s.session.token(ctx); d.Login != nil || d.Server.Namespace != nil {
		return d
	}
	d.Token = s.askToken(ctx)
	err := s.inspect(ctx)
	if errors.Is(err, errLogin) { // that the token is dead is found out by its first call
		d.Login, d.Token = err, nil
		return d
	}
	if err != nil {
		d.Mount = err
	} else {
		d.KV = s.askMount(ctx)
		d.Rights = s.askRights(ctx)
	}
	d.Transit = s.tryTransit(ctx)
	return d
}

func (s *Store) askServer(ctx context.Context, d *Diagnosis) (*ServerFacts, error) {
	var mu sync.Mutex // a handshake may still be under way when the call has ended
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{TLSHandshakeDone: func(state tls.ConnectionState, err error) {
		if err == nil && len(state.PeerCertificates) > 0 {
			mu.Lock()
			defer mu.Unlock()
			d.CertEnd = state.PeerCertificates[0].NotAfter
		}
	}})
	asked := time.Now()
	h, err := s.health(ctx)
	d.Latency = time.Since(asked)
	mu.Lock()
	defer mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("vaultstore: asking for the server's health: %w", err)
	}
	if h.Initialized == nil {
		return nil, errors.New("vaultstore: asking for the server's health: an answer that is not Vault's")
	}
	f := &ServerFacts{
		Version: h.Version, Cluster: h.Cluster, Initialized: *h.Initialized, Sealed: h.Sealed,
		Standby: h.Standby || h.PerformanceStandby, Enterprise: h.Enterprise != nil && *h.Enterprise, Heard: time.Now(),
	}
	if h.Time > 0 {
		f.Time = time.Unix(h.Time, 0)
	}
	return f, nil
}

// askToken returns nil where the token may not look at itself, as one without the
// default policy, or is dead: the next call tells.
func (s *Store) askToken(ctx context.Context) *TokenFacts {
	var self struct {
		Policies         []string `json:"policies"`
		IdentityPolicies []string `json:"identity_policies"`
		Type             string   `json:"type"`
		TTL              int64    `json:"ttl"`
		ExplicitMax      int64    `json:"explicit_max_ttl"`
		Period           int64    `json:"period"`
		Renewable        bool     `json:"renewable"`
		Uses             int      `json:"num_uses"`
	}
	found, err := s.ask(ctx, "auth/token/lookup-self", &self)
	if err != nil || !found {
		return nil
	}
	return &TokenFacts{
		Policies: append(self.Policies, self.IdentityPolicies...), Type: self.Type,
		TTL: time.Duration(self.TTL) * time.Second, ExplicitMax: time.Duration(self.ExplicitMax) * time.Second,
		Period: time.Duration(self.Period) * time.Second, Renewable: self.Renewable, Uses: self.Uses,
	}
}

func (s *Store) askMount(ctx context.Context) *MountFacts {
	f := &MountFacts{Path: s.paths.mount}
	var config struct {
		CASRequired bool `json:"cas_required"`
		MaxVersions int  `json:"max_versions"`
	}
	found, err := s.ask(ctx, s.paths.config(), &config)
	f.Visible = found && err == nil
	f.CASRequired, f.MaxVersions = config.CASRequired, config.MaxVersions
	return f
}

// ask is fetch without a login on the way: a refusal is an answer.
func (s *Store) ask(ctx context.Context, path string, out any) (found bool, err error) {
	err = s.session.once(ctx, func(ctx context.Context, client *api.Client) error {
		found, err = fetchOnce(ctx, client, path, out)
		return err
	})
	return found, err
}

func (s *Store) tryTransit(ctx context.Context) error {
	plain, wrapped, err := s.DataKey(ctx)
	if err != nil {
		return err
	}
	opened, err := s.OpenKey(ctx, wrapped)
	if err != nil {
		return err
	}
	if string(opened) != string(plain) {
		return errors.New("vaultstore: opening a data key: another one was inside")
	}
	return nil
}
