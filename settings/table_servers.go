package settings

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/finx-connector/finx-connector/internal/secret"
)

// setServers reads the broker's addresses. One without a scheme is nats://, as
// the NATS client reads it.
func setServers(s *Settings, v string) error {
	var servers []string
	for part := range strings.SplitSeq(v, ",") {
		part = strings.TrimSpace(part)
		if part != "" && !strings.Contains(part, "://") {
			part = "nats://" + part
		}
		u, err := url.Parse(part)
		// A fragment, a query or a path is what an unescaped password becomes.
		if err != nil || u.Hostname() == "" || u.Fragment != "" || u.RawQuery != "" || u.ForceQuery || strings.Trim(u.Path, "/") != "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			return errors.New("comma list of nats://, tls://, ws:// or wss:// addresses, with special characters of a password percent-encoded")
		}
		servers = append(servers, part)
	}
	s.NATS.URL = secret.New(strings.Join(servers, ","))
	return nil
}

func natsTable() []Setting {
	return []Setting{
		{
			Env: "NATS_URL", Default: "nats://127.0.0.1:4222", Doc: "addresses of the broker",
			Allowed: "comma list of nats://, tls://, ws:// or wss:// addresses",
			set:     setServers,
		},
		file("NATS_CREDS", "user JWT and seed", func(s *Settings) *string { return &s.NATS.CredsFile }),
		file("NATS_NKEY_SEED_FILE", "nkey seed", func(s *Settings) *string { return &s.NATS.NkeySeedFile }),
		file("NATS_CA", "certificates the broker's is checked against", func(s *Settings) *string { return &s.NATS.CAFile }),
		file("NATS_CERT", "our client certificate", func(s *Settings) *string { return &s.NATS.CertFile }),
		file("NATS_KEY", "key of the client certificate", func(s *Settings) *string { return &s.NATS.KeyFile }),
		boolean("NATS_TLS_FIRST", "begin with TLS, for a broker that says nothing before (`handshake_first`)", func(s *Settings) *bool { return &s.NATS.TLSFirst }),
		checked("NATS_INBOX_PREFIX", "_INBOX_connector", "where replies of the broker come in: a prefix for each role keeps one from reading another's", "tokens of letters, digits, - and _, joined by dots",
			subjectTokens, func(s *Settings) *string { return &s.NATS.InboxPrefix }),
	}
}

func vaultTable() []Setting {
	return []Setting{
		checked("VAULT_ADDR", "https://127.0.0.1:8200", "address of Vault; its other variables are honoured as the Vault client reads them",
			"absolute http or https URL, or unix:// and the path of a socket",
			func(v string) bool {
				_, ok := absoluteURL(v, "http", "https")
				return ok || strings.HasPrefix(v, "unix:///")
			},
			func(s *Settings) *string { return &s.Vault.Addr }),
		reread(secretText("VAULT_TOKEN", "token to log in with, when `VAULT_AUTH` is `token`", func(s *Settings) *secret.Text { return &s.Vault.Token }),
			func(s *Settings) *string { return &s.Vault.TokenFile }),
		text("VAULT_NAMESPACE", "namespace (Vault Enterprise)", func(s *Settings) *string { return &s.Vault.Namespace }),
		file("VAULT_CACERT", "certificates Vault's is checked against", func(s *Settings) *string { return &s.Vault.CACert }),
		{
			Env: "VAULT_CAPATH", Doc: "directory of such certificates", Allowed: "path of a directory",
			set: func(s *Settings, v string) error { s.Vault.CAPath = v; return nil },
		},
		file("VAULT_CLIENT_CERT", "our client certificate", func(s *Settings) *string { return &s.Vault.ClientCert }),
		file("VAULT_CLIENT_KEY", "key of the client certificate", func(s *Settings) *string { return &s.Vault.ClientKey }),
		text("VAULT_TLS_SERVER_NAME", "name expected in Vault's certificate", func(s *Settings) *string { return &s.Vault.TLSServerName }),
		boolean("VAULT_SKIP_VERIFY", "do not check Vault's certificate; for tests only", func(s *Settings) *bool { return &s.Vault.SkipVerify }),
		oneOf("VAULT_AUTH", AuthToken, "how to log in", func(s *Settings) *string { return &s.Vault.Auth }, AuthToken, AuthAppRole, AuthKubernetes),
		{
			Env: "VAULT_AUTH_MOUNT", DefaultText: "as `VAULT_AUTH`", Doc: "where that login is mounted", Allowed: "path without a slash at either end",
			set: pathSegment(func(s *Settings) *string { return &s.Vault.AuthMount }),
		},
		secretText("VAULT_ROLE_ID", "role, when `VAULT_AUTH` is `approle`", func(s *Settings) *secret.Text { return &s.Vault.RoleID }),
		reread(secretText("VAULT_SECRET_ID", "its secret", func(s *Settings) *secret.Text { return &s.Vault.SecretID }),
			func(s *Settings) *string { return &s.Vault.SecretIDFile }),
		text("VAULT_K8S_ROLE", "role, when `VAULT_AUTH` is `kubernetes`", func(s *Settings) *string { return &s.Vault.KubernetesRole }),
		{
			Env: "VAULT_K8S_JWT_PATH", Default: "/var/run/secrets/kubernetes.io/serviceaccount/token", Doc: "token of the service account", Allowed: "path of a file",
			set: func(s *Settings, v string) error { s.Vault.JWTPath = v; return nil },
		},
		{
			Env: "VAULT_KV_MOUNT", Default: "secret", Doc: "mount of the KV v2 engine", Allowed: "path without a slash at either end",
			set: pathSegment(func(s *Settings) *string { return &s.Vault.KVMount }),
		},
		{
			Env: "VAULT_KV_PREFIX", Default: "finx", Doc: "path below the mount; secrets are at `<mount>/<prefix>/connections/<connection_id>`", Allowed: "path without a slash at either end",
			set: pathSegment(func(s *Settings) *string { return &s.Vault.KVPrefix }),
		},
	}
}

func pathSegment(at func(*Settings) *string) func(*Settings, string) error {
	return func(s *Settings, v string) error {
		if v != strings.Trim(v, "/") || strings.Contains(v, "//") || strings.ContainsAny(v, "?#% ") ||
			slices.Contains(strings.Split(v, "/"), "..") {
			return errors.New("path without a slash at either end")
		}
		*at(s) = v
		return nil
	}
}

// allowedBaseURL says what FINX_BASE_URL may be.
const allowedBaseURL = "absolute https URL without user, query or fragment; http on loopback only"

// inClear reports whether calls to the base URL leave this machine unencrypted.
func (f FinX) inClear() bool {
	u, ok := absoluteURL(f.BaseURL, "http")
	return ok && !isLoopback(u.Hostname())
}

func finxTable() []Setting {
	rows := []Setting{
		{
			Env: "FINX_BASE_URL", DefaultText: "required", Doc: "finX host", Allowed: "absolute https URL; http on loopback only",
			set: func(s *Settings, v string) error {
				if _, ok := absoluteURL(v, "http", "https"); !ok {
					return errors.New(allowedBaseURL)
				}
				s.FinX.BaseURL = strings.TrimRight(v, "/") // whether http is allowed, checkTogether says
				return nil
			},
		},
		boolean("FINX_ALLOW_HTTP", "let `FINX_BASE_URL` be http beyond loopback: for a sandbox on a private network only, as tokens travel in clear",
			func(s *Settings) *bool { return &s.FinX.AllowHTTP }),
		checked("FINX_CLIENT_ID", "", "client id given by Qwist", "text without a colon",
			func(v string) bool { return !strings.Contains(v, ":") }, func(s *Settings) *string { return &s.FinX.ClientID }),
		secretText("FINX_CLIENT_SECRET", "its secret", func(s *Settings) *secret.Text { return &s.FinX.ClientSecret }),
	}
	rows[2].DefaultText, rows[3].DefaultText = "required", "required"
	return append(append(rows, finxPaths()...), finxLimits()...)
}

func finxPaths() []Setting {
	path := func(env, def, doc string, at func(*Paths) *string) Setting {
		return checked(env, def, doc, "path that begins with a slash, without query",
			func(v string) bool { return strings.HasPrefix(v, "/") && !strings.ContainsAny(v, "?# ") },
			func(s *Settings) *string { return at(&s.FinX.Paths) })
	}
	return []Setting{
		path("FINX_PATH_ACCESS", "/ongoing/access", "makes a widget link", func(p *Paths) *string { return &p.Access }),
		path("FINX_PATH_SYNC", "/ongoing/sync", "makes a renewal link", func(p *Paths) *string { return &p.Sync }),
		path("FINX_PATH_TOKEN", "/auth/token", "exchanges and refreshes tokens", func(p *Paths) *string { return &p.Token }),
		path("FINX_PATH_REVOKE", "/auth/revoke", "revokes a token", func(p *Paths) *string { return &p.Revoke }),
		path("FINX_PATH_ACCOUNTS", "/rest/accounts", "lists accounts", func(p *Paths) *string { return &p.Accounts }),
		path("FINX_PATH_TRANSACTIONS", "/rest/accounts/{account_id}/transactions",
			"lists transactions; without `{account_id}` the id goes into the query as `accounts`", func(p *Paths) *string { return &p.Transactions }),
		path("FINX_PATH_PROBE", "/category-tree",
			"tells whether finX works again after an outage: a GET as the client, about nobody; any answer of finX will do", func(p *Paths) *string { return &p.Probe }),
	}
}

func finxLimits() []Setting {
	const low, high = time.Millisecond, time.Hour
	return []Setting{
		duration("FINX_TIMEOUT_LINK", "20s", "one attempt to make a link", low, high, func(s *Settings) *time.Duration { return &s.FinX.Timeouts.Link }),
		duration("FINX_TIMEOUT_TOKEN", "45s", "one token call; an answer that comes later is a lost token", low, high, func(s *Settings) *time.Duration { return &s.FinX.Timeouts.Token }),
		duration("FINX_TIMEOUT_ACCOUNTS", "30s", "one attempt to list accounts", low, high, func(s *Settings) *time.Duration { return &s.FinX.Timeouts.Accounts }),
		duration("FINX_TIMEOUT_PAGE", "60s", "one attempt to read a page of transactions", low, high, func(s *Settings) *time.Duration { return &s.FinX.Timeouts.Page }),
		duration("FINX_RETRY_BUDGET", "10s", "how long a call that may be repeated is repeated before its event is put back", 0, high, func(s *Settings) *time.Duration { return &s.FinX.RetryBudget }),
		duration("FINX_THROTTLE_DEFAULT", "30s", "wait when finX throttles and names no time", low, high, func(s *Settings) *time.Duration { return &s.FinX.ThrottleDefault }),
		rateOrNone("FINX_RATE", "0", "calls to finX a second, of all replicas together; `0` sets no bound", 0.001, 10000, func(s *Settings) *float64 { return &s.FinX.Rate }),
		countOrNone("FINX_CONCURRENCY", "0", "most calls to finX at once, a process; `0`: as many as events are handled", 4096, func(s *Settings) *int { return &s.FinX.Concurrency }),
		size("FINX_MAX_BODY_BYTES", "64MiB", "largest answer that is read", 1<<10, 1<<30, func(s *Settings) *int64 { return &s.FinX.MaxBodyBytes }),
		duration("FINX_CODE_LIFETIME", "1h", "how old a callback's code may be; an older one is not sent", time.Second, 24*time.Hour, func(s *Settings) *time.Duration { return &s.FinX.CodeLifetime }),
		duration("FINX_REFRESH_SKEW", "2m", "an access token is refreshed this long before it ends", 0, high, func(s *Settings) *time.Duration { return &s.FinX.RefreshSkew }),
		duration("FINX_REFRESH_LIFETIME", "2160h", "how long an unused refresh token lives", time.Second, 20000*time.Hour, func(s *Settings) *time.Duration { return &s.FinX.RefreshLifetime }),
	}
}
