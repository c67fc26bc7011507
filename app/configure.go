package app

import (
	"net/http"
	"strings"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/natsconn"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/settings"
	"github.com/finx-connector/finx-connector/streams"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// Codec returns how this installation names its subjects.
func Codec(s settings.Settings) events.Codec {
	return events.Codec{Prefix: s.Subjects.Prefix, MaxInputBytes: int(s.Subjects.MaxInputBytes)}
}

// NATSConfig returns how the broker is reached.
func NATSConfig(s settings.Settings) natsconn.Config {
	return natsconn.Config{
		URL: s.NATS.URL.Reveal(), CredsFile: s.NATS.CredsFile, NkeySeedFile: s.NATS.NkeySeedFile,
		CAFile: s.NATS.CAFile, CertFile: s.NATS.CertFile, KeyFile: s.NATS.KeyFile,
		TLSFirst: s.NATS.TLSFirst, InboxPrefix: s.NATS.InboxPrefix,
	}
}

// StreamNames returns the stream of each group of subjects.
func StreamNames(s settings.Settings) streams.Names {
	return streams.Names{
		Connects: s.Streams.Requests, Syncs: s.Streams.Syncs, Erasures: s.Streams.Erasures,
		Callbacks: s.Streams.Callbacks, Events: s.Streams.Events, Timers: s.Streams.Timers, DLQ: s.Streams.DLQ,
	}
}

// Topology returns what has to be on the broker. A stream with a name that is
// not the default's belongs to another team.
func Topology(s settings.Settings) streams.Topology {
	owned := func(name, ours string) string {
		if name == ours {
			return ""
		}
		return name
	}
	limits := streams.Limits{MaxAge: s.Streams.MaxAge, MaxBytes: s.Streams.MaxBytes}
	return streams.Plan(streams.Config{
		Codec: Codec(s), PerConnection: s.Subjects.PerConnection, Replicas: s.Streams.Replicas, AckWait: s.Handling.AckWait,
		Requests: limits, Callbacks: limits, Events: limits, DLQ: limits,
		Owned: streams.Names{
			Connects:  owned(s.Streams.Requests, settings.DefaultStreamRequests),
			Syncs:     owned(s.Streams.Syncs, settings.DefaultStreamRequests),
			Erasures:  owned(s.Streams.Erasures, settings.DefaultStreamRequests),
			Callbacks: owned(s.Streams.Callbacks, settings.DefaultStreamCallbacks),
			Events:    owned(s.Streams.Events, settings.DefaultStreamEvents),
			Timers:    owned(s.Streams.Timers, settings.DefaultStreamTimers),
			DLQ:       owned(s.Streams.DLQ, settings.DefaultStreamDLQ),
		},
	})
}

// Redirects returns which redirect_uri a connect request may name.
func Redirects(s settings.Settings) (events.RedirectPolicy, error) {
	return events.ParseRedirectPolicy(strings.Join(s.Subjects.RedirectURIAllow, ","))
}

// FinXConfig returns how finX is reached. As many connections are kept as there
// can be callers at once.
func FinXConfig(s settings.Settings) finx.Config {
	t, budget := s.FinX.Timeouts, s.FinX.RetryBudget
	if budget == 0 {
		budget = -1 // the client takes zero for its default; ours means no second attempt
	}
	return finx.Config{
		BaseURL: s.FinX.BaseURL, AllowHTTP: s.FinX.AllowHTTP, ClientID: s.FinX.ClientID, ClientSecret: s.FinX.ClientSecret,
		Paths: finx.Paths(s.FinX.Paths),
		Timeouts: finx.Timeouts{
			Link: t.Link, Token: t.Token, Accounts: t.Accounts, Transactions: t.Page,
		},
		PageSize: s.Fetch.PageSize, MaxBodyBytes: s.FinX.MaxBodyBytes, MaxIdlePerHost: callers(s),
		// The usual HTTPS_PROXY and NO_PROXY, as every other client honours them.
		Proxy:       http.ProxyFromEnvironment,
		RetryBudget: budget, ThrottleDefault: s.FinX.ThrottleDefault,
	}
}

// VaultConfig returns how Vault is reached and logged in to.
func VaultConfig(s settings.Settings) vaultstore.Config {
	v := s.Vault
	if v.SecretIDFile != "" {
		v.SecretID = secret.Text{} // settings have read the file; the login reads it again, as it may be replaced
	}
	return vaultstore.Config{
		Address: v.Addr, Namespace: v.Namespace,
		TLS: vaultstore.TLS{
			CACert: v.CACert, CAPath: v.CAPath, ClientCert: v.ClientCert, ClientKey: v.ClientKey,
			ServerName: v.TLSServerName, SkipVerify: v.SkipVerify,
		},
		Auth: v.Auth, AuthMount: v.AuthMount, Token: v.Token, TokenFile: v.TokenFile,
		RoleID: v.RoleID.Reveal(), SecretID: v.SecretID, SecretIDFile: v.SecretIDFile, K8sRole: v.KubernetesRole, K8sJWTPath: v.JWTPath,
		Mount: v.KVMount, Prefix: v.KVPrefix, Concurrency: callers(s),
		TransitMount: v.TransitMount, TransitKey: v.TransitKey,
	}
}

// callers is how many handlers can be at work at once in this process.
func callers(s settings.Settings) int {
	c := s.Concurrency
	return c.Connects + c.Callbacks + c.Syncs + c.Erasures + c.Due
}
