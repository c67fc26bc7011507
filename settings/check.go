package settings

import "slices"

// check looks at what one setting alone cannot tell.
func (l *loader) check(s Settings, need Need) {
	require := func(name string, given bool, why string) {
		if !given && !l.refused[name] {
			l.problem(name, "", "required"+why+", but not set")
		}
	}
	if need.FinX {
		require("FINX_BASE_URL", s.FinX.BaseURL != "", "")
		require("FINX_CLIENT_ID", s.FinX.ClientID != "", "")
		require("FINX_CLIENT_SECRET", !s.FinX.ClientSecret.IsZero(), "")
	}
	if need.Vault {
		switch s.Vault.Auth {
		case AuthToken:
			require("VAULT_TOKEN", !s.Vault.Token.IsZero(), " with VAULT_AUTH=token")
		case AuthAppRole:
			require("VAULT_ROLE_ID", !s.Vault.RoleID.IsZero(), " with VAULT_AUTH=approle")
			require("VAULT_SECRET_ID", !s.Vault.SecretID.IsZero(), " with VAULT_AUTH=approle")
		case AuthKubernetes:
			require("VAULT_K8S_ROLE", s.Vault.KubernetesRole != "", " with VAULT_AUTH=kubernetes")
		}
	}
	l.checkTogether(s)
	l.checkOrder(s)
}

// checkTogether looks at settings that belong together.
func (l *loader) checkTogether(s Settings) {
	if (s.NATS.CertFile == "") != (s.NATS.KeyFile == "") {
		l.problem("NATS_CERT and NATS_KEY", "", "set both or none")
	}
	if (s.Vault.ClientCert == "") != (s.Vault.ClientKey == "") {
		l.problem("VAULT_CLIENT_CERT and VAULT_CLIENT_KEY", "", "set both or none")
	}
	if s.NATS.CredsFile != "" && s.NATS.NkeySeedFile != "" {
		l.problem("NATS_CREDS and NATS_NKEY_SEED_FILE", "", "set one of them")
	}
	if s.FinX.inClear() && !s.FinX.AllowHTTP {
		l.problem("FINX_BASE_URL", s.source("FINX_BASE_URL"), "not allowed; allowed is: "+allowedBaseURL)
	}
}

// checkOrder looks at durations of which one must be shorter than another. One
// that was refused already is not compared: its field holds nothing.
func (l *loader) checkOrder(s Settings) {
	for _, pair := range []struct {
		name, other string
		ok          bool
		must        string
	}{
		// A handler that is cut off while finX answers loses the answer, and with
		// it the only valid refresh token.
		{"CALLBACK_TIMEOUT", "FINX_TIMEOUT_TOKEN", s.Handling.CallbackTimeout >= s.FinX.Timeouts.Token, "must not be shorter than"},
		{"SYNC_TIMEOUT", "FINX_TIMEOUT_TOKEN", s.Handling.SyncTimeout >= s.FinX.Timeouts.Token, "must not be shorter than"},
		// With a lead of the whole life every token would be due the moment it came.
		{"FINX_KEEPALIVE_LEAD", "FINX_REFRESH_LIFETIME", s.FinX.KeepAliveLead < s.FinX.RefreshLifetime, "must be shorter than"},
		// The notice is about a refresh that was tried and did not succeed.
		{"FINX_EXPIRING_NOTICE", "FINX_KEEPALIVE_LEAD", s.FinX.ExpiringNotice < s.FinX.KeepAliveLead, "must be shorter than"},
	} {
		if !pair.ok && !l.refused[pair.name] && !l.refused[pair.other] {
			l.problem(pair.name, "", pair.must+" "+pair.other)
		}
	}
}

// source says where the value of a setting came from.
func (s Settings) source(env string) string {
	i := slices.IndexFunc(s.values, func(v Value) bool { return v.Env == env })
	return s.values[i].Source
}

// doubts returns a warning for each combination that is allowed and probably not
// meant.
func doubts(s Settings) []string {
	var warnings []string
	warn := func(yes bool, text string) {
		if yes {
			warnings = append(warnings, text)
		}
	}
	given := func(env string) bool { return s.source(env) != fromDefault }
	warn(s.FinX.TokenReplay == ReplayNever,
		"FINX_TOKEN_REPLAY=never: each token call that gets no answer ends its connection until the user logs in again; keep it only while finX punishes a value sent twice")
	warn(s.FinX.AllowHTTP,
		"FINX_ALLOW_HTTP=true: the client secret, codes and tokens may travel in clear; keep it for a sandbox on a private network")
	warn(s.FinX.KeepAliveLead < s.Handling.OutageAfter,
		"FINX_KEEPALIVE_LEAD is shorter than OUTAGE_AFTER: in an outage that events are made to wait for, refresh tokens may end")
	warn(s.Handling.LeaseTTL > s.Handling.AckWait,
		"LEASE_TTL is longer than ACK_WAIT: after a crash an event comes back before the lock it needs is free")
	warn(!s.Vault.EscrowKeys.IsZero() && (given("VAULT_TRANSIT_MOUNT") || given("VAULT_TRANSIT_KEY")),
		"VAULT_TRANSIT_MOUNT and VAULT_TRANSIT_KEY have no effect beside ESCROW_KEY")
	return warnings
}
