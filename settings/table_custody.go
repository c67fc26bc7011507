package settings

import (
	"encoding/base64"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"github.com/finx-connector/finx-connector/internal/secret"
)

// custodyTable is about keeping tokens valid, and not losing one on its way to
// Vault.
func custodyTable() []Setting {
	return []Setting{
		duration("FINX_KEEPALIVE_LEAD", "720h", "a refresh token with less than this left is rotated, whether data is asked for or not; shorter than `FINX_REFRESH_LIFETIME`",
			time.Millisecond, 20000*time.Hour, func(s *Settings) *time.Duration { return &s.FinX.KeepAliveLead }),
		rate("FINX_KEEPALIVE_RATE", "5", "rotations a second that this may take, of all processes together", 0.001, 1000, func(s *Settings) *float64 { return &s.FinX.KeepAliveRate }),
		duration("FINX_EXPIRING_NOTICE", "168h", "a refresh token that could not be rotated and has less than this left raises `connection.expiring`; shorter than `FINX_KEEPALIVE_LEAD`",
			time.Millisecond, 20000*time.Hour, func(s *Settings) *time.Duration { return &s.FinX.ExpiringNotice }),
		duration("CONSENT_LIFETIME", "4320h", "how long a bank's consent lives as a rule; only `finx-connector connections` reckons with it, as an estimate",
			time.Hour, 20000*time.Hour, func(s *Settings) *time.Duration { return &s.FinX.ConsentLifetime }),
		oneOf("FINX_TOKEN_REPLAY", ReplayAlways, "whether a token call that got no answer is sent once more with the same code or token; `never` only if finX punishes that",
			func(s *Settings) *string { return &s.FinX.TokenReplay }, ReplayAlways, ReplayNever),
		duration("CLOCK_SKEW", "5s", "how far apart the clocks of the processes may be", time.Millisecond, 10*time.Minute, func(s *Settings) *time.Duration { return &s.Handling.ClockSkew }),
		countOrNone("SWEEP_RATE", "100", "secrets a second that are read at the start and every four hours, to find token calls that a crash cut off; `0` reads none",
			100000, func(s *Settings) *int { return &s.Process.SweepRate }),
		{
			Env: "VAULT_TRANSIT_MOUNT", Default: "transit", Doc: "mount of the Transit engine, which seals the answers that Vault's KV could not take yet; used when it is there",
			Allowed: "path without a slash at either end", set: pathSegment(func(s *Settings) *string { return &s.Vault.TransitMount }),
		},
		checked("VAULT_TRANSIT_KEY", "finx-escrow", "its key", "name of letters, digits, -, _ and dots",
			transitKey, func(s *Settings) *string { return &s.Vault.TransitKey }),
		escrowKeys("ESCROW_KEY", "seals them instead of Transit, the same for all processes; the first key seals, all of them open", func(s *Settings) *secret.Text { return &s.Vault.EscrowKeys }),
		checked("ESCROW_DIR", "", "where this host keeps every answer, sealed, until it is stored; needs one of the two keys", "absolute path of a directory",
			filepath.IsAbs, func(s *Settings) *string { return &s.Vault.EscrowDir }),
	}
}

// transitKey keeps a key's name one step of a path.
func transitKey(v string) bool {
	return strings.Trim(v, ".") != "" &&
		strings.Trim(v, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == ""
}

// escrowKeys checks the keys here, and not where they are used: a key with a
// typing error would otherwise be found out when an answer has to be sealed.
func escrowKeys(env, doc string, at func(*Settings) *secret.Text) Setting {
	const allowed = "comma list of 32 random bytes in base64, like from openssl rand -base64 32"
	return Setting{Env: env, Doc: doc, Allowed: allowed, Secret: true, set: func(s *Settings, v string) error {
		for key := range strings.SplitSeq(v, ",") {
			if !is32Bytes(strings.TrimSpace(key)) {
				return errors.New(allowed)
			}
		}
		*at(s) = secret.New(v)
		return nil
	}}
}

// is32Bytes reports whether key is 32 bytes in base64, of the standard or the URL
// alphabet, padded or not.
func is32Bytes(key string) bool {
	if strings.ContainsAny(key, "\r\n") { // the decoder would skip them
		return false
	}
	for _, alphabet := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
		const size = 32
		if raw, err := alphabet.DecodeString(key); err == nil && len(raw) == size {
			return true
		}
	}
	return false
}
