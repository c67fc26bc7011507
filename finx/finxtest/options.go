package finxtest

import (
	"log/slog"
	"net/http"
	"time"
)

// ErrorShape says what a refused token request looks like. finX documents no
// shape for it, so clients have to understand both.
type ErrorShape string

// The two error shapes of the token endpoint.
const (
	OAuthErrors ErrorShape = "oauth" // {"error":"invalid_grant"}
	FinXErrors  ErrorShape = "finx"  // {"error":{"code":1003,…}}
)

// Limits of the generated tokens and codes, in bytes.
const (
	MinTokenBytes = 20
	MaxTokenBytes = 64 << 10
)

// Options shapes a Sandbox. The zero value is a well-behaved host with the
// documented lifetimes, no grace window and no rate limit.
type Options struct {
	// ClientID and ClientSecret are what HTTP Basic must carry.
	// Default "sandbox" and "sandbox-secret".
	ClientID, ClientSecret string
	// PublicURL is put before /widget/ in a link. Empty: the address the
	// client called, which is right unless a proxy stands before the sandbox.
	PublicURL string
	// Scope is granted to every token.
	// Default "accounts=ro balance=ro transactions=ro offline".
	Scope string

	// LinkLifetime is how long a widget link opens (default 24 h, undocumented).
	LinkLifetime time.Duration
	// CodeLifetime defaults to 1 h; the reference says "e.g. 5 minutes" instead.
	CodeLifetime time.Duration
	// AccessLifetime defaults to 1 h.
	AccessLifetime time.Duration
	// RefreshLifetime defaults to 90 days, counted anew at every rotation.
	RefreshLifetime time.Duration
	// ConsentLifetime is how long the bank goes on giving data (default 180 days).
	ConsentLifetime time.Duration
	// SyncEvery is the pace of the automatic bank sync (default 6 h). It runs
	// only for accesses whose credentials were saved.
	SyncEvery time.Duration

	// Grace is how long a rotated refresh token still answers, with the same
	// pair again. 0: it is dead at once.
	Grace time.Duration
	// CodeGrace is how long an exchanged code still answers, with the same pair
	// again, until one of its tokens is used. RFC 6749 wants 0: a second use is
	// refused and revokes. Some hosts are kinder to clients that lost the answer.
	CodeGrace time.Duration
	// RevokeOnReuse makes the use of a dead refresh token revoke every token of
	// its family. A reused code always does (RFC 6749 §10.5).
	RevokeOnReuse bool
	// KeepRefreshToken leaves refresh_token out of refresh answers: the old one
	// stays valid, as the reference page allows.
	KeepRefreshToken bool
	// TokenErrors is the error shape of /auth/token. Default OAuthErrors.
	TokenErrors ErrorShape
	// CancelParam is the callback parameter of a cancelled widget: "cancel"
	// (default) or "abort".
	CancelParam string
	// SyncWithoutCode leaves the code out of callbacks of /ongoing/sync links.
	SyncWithoutCode bool
	// StrictTypes refuses "true" for true, "90" for 90, objects in
	// account_types and unknown fields. Default lenient.
	StrictTypes bool
	// CodeBytes, AccessTokenBytes and RefreshTokenBytes set the lengths, from
	// MinTokenBytes to MaxTokenBytes. 0: as in the documents' samples.
	CodeBytes, AccessTokenBytes, RefreshTokenBytes int

	// Seed decides accounts, transactions and the dice of the faults.
	Seed uint64
	// HistoryEnd is the booking day of each account's newest transaction.
	// Default: the day before New was called. Fix it to get the same bytes on
	// another day.
	HistoryEnd time.Time
	// Shape is the data of a user nobody called SetUser for.
	Shape Shape
	// MaxCount silently caps the page size; 0 means no cap. A client that takes
	// any short page for the last one loses data on a capped host.
	MaxCount int

	// RatePerSecond limits API calls; 0 means no limit. RateBurst defaults to
	// one second's worth.
	RatePerSecond float64
	RateBurst     int
	// RateStatus is 429 (default) or 503, which the older SDKs describe.
	RateStatus int
	// RetryAfter goes into the header of that name (default 1 s), as seconds or,
	// with RetryAfterDate, as an HTTP date.
	RetryAfter     time.Duration
	RetryAfterDate bool
	// BusyAbove answers 423 (code 1008) to data calls of a user who has this
	// many running already; 0 means never.
	BusyAbove int

	// ControlFromAnywhere opens /_sandbox/ to other machines. Default: loopback.
	ControlFromAnywhere bool
	// Logger gets one line a call, without tokens. nil: nothing is logged.
	Logger *slog.Logger
}

// withDefaults returns o with every zero replaced by its documented default.
func (o Options) withDefaults(now time.Time) Options {
	orString(&o.ClientID, "sandbox")
	orString(&o.ClientSecret, "sandbox-secret")
	orString(&o.Scope, "accounts=ro balance=ro transactions=ro offline")
	orString(&o.CancelParam, "cancel")
	orDuration(&o.LinkLifetime, day)
	orDuration(&o.CodeLifetime, time.Hour)
	orDuration(&o.AccessLifetime, time.Hour)
	orDuration(&o.RefreshLifetime, 90*day)
	orDuration(&o.ConsentLifetime, 180*day)
	orDuration(&o.SyncEvery, 6*time.Hour)
	orDuration(&o.RetryAfter, time.Second)
	if o.TokenErrors == "" {
		o.TokenErrors = OAuthErrors
	}
	if o.RateStatus == 0 {
		o.RateStatus = http.StatusTooManyRequests
	}
	if o.RateBurst == 0 {
		o.RateBurst = max(1, int(o.RatePerSecond))
	}
	if o.HistoryEnd.IsZero() {
		o.HistoryEnd = now.Add(-day)
	}
	o.HistoryEnd = o.HistoryEnd.UTC().Truncate(day)
	o.Shape = o.Shape.withDefaults()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

const day = 24 * time.Hour

func orString(s *string, def string) {
	if *s == "" {
		*s = def
	}
}

func orDuration(d *time.Duration, def time.Duration) {
	if *d == 0 {
		*d = def
	}
}
