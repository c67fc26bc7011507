package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/finx-connector/finx-connector/finx/finxtest"
)

const (
	defaultClientID     = "sandbox"
	defaultClientSecret = "sandbox-secret"
)

const usage = `finx-sandbox serves the finX API as a simulator.

Usage:
  finx-sandbox [flags]

Example:
  finx-sandbox --listen 127.0.0.1:8090 --accounts 3 --transactions 200000 --grace 30s

FINX_CLIENT_ID and FINX_CLIENT_SECRET in the environment stand in for --client-id
and --client-secret; FINX_CLIENT_SECRET_FILE names a file with the secret. Exit code: 0 stopped, 1 failed, 2 wrong usage.

Flags:
`

// settings is what the flags say.
type settings struct {
	listen  string
	log     string
	options finxtest.Options
}

// parse reads the flags. It returns flag.ErrHelp when help was asked for and printed.
func parse(args []string, getenv func(string) string, stdout, stderr io.Writer) (settings, error) {
	s := settings{options: finxtest.Options{Shape: finxtest.Shape{Accounts: 3, Transactions: 240, Pending: 2}}}
	o := &s.options
	fs := flag.NewFlagSet("finx-sandbox", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // help goes to stdout and errors to stderr, below
	fs.StringVar(&s.listen, "listen", "127.0.0.1:8090", "address to listen on")
	fs.StringVar(&s.log, "log", "info", "log level: debug, info, warn, error")
	fs.StringVar(&o.ClientID, "client-id", or(getenv("FINX_CLIENT_ID"), defaultClientID), "client id for HTTP Basic")
	secret := fs.String("client-secret", "", "client secret for HTTP Basic (default \""+defaultClientSecret+"\")")
	fs.StringVar(&o.PublicURL, "public-url", "", "URL put before /widget/ in links (default: the address the client called)")
	fs.StringVar(&o.Scope, "scope", "", "scope of every token (default \"accounts=ro balance=ro transactions=ro offline\")")

	fs.Uint64Var(&o.Seed, "seed", 1, "decides accounts and transactions")
	fs.Func("history-end", "booking `day` of the newest transactions, YYYY-MM-DD (default: yesterday)", func(v string) (err error) {
		o.HistoryEnd, err = time.Parse(time.DateOnly, v)
		return err
	})
	fs.IntVar(&o.Shape.Accounts, "accounts", o.Shape.Accounts, "accounts a user has at a bank")
	fs.IntVar(&o.Shape.Transactions, "transactions", o.Shape.Transactions, "transactions of all these accounts together")
	fs.IntVar(&o.Shape.Pending, "pending", o.Shape.Pending, "pending transactions of each account")
	fs.IntVar(&o.Shape.EmptyAccounts, "empty-accounts", 0, "how many of the accounts have no transactions")
	fs.IntVar(&o.Shape.Days, "days", 90, "days the histories reach back")
	fs.IntVar(&o.Shape.ObjectBytes, "object-bytes", 0, "least size of a transaction object")
	fs.IntVar(&o.MaxCount, "max-count", 0, "silent cap of the page size; 0: none")

	tokenFlags(fs, o)
	fs.Float64Var(&o.RatePerSecond, "rate", 0, "API calls a second; 0: no limit")
	fs.IntVar(&o.RateBurst, "rate-burst", 0, "API calls at once (default: one second's worth)")
	fs.IntVar(&o.RateStatus, "rate-status", 429, "answer above the rate: 429 or 503")
	fs.DurationVar(&o.RetryAfter, "retry-after", time.Second, "least Retry-After of such an answer")
	fs.BoolVar(&o.RetryAfterDate, "retry-after-date", false, "send Retry-After as an HTTP date")
	fs.IntVar(&o.BusyAbove, "busy-above", 0, "concurrent data calls of a user above which 423 is answered; 0: never")
	fs.BoolVar(&o.ControlFromAnywhere, "control-from-anywhere", false, "open /_sandbox/ to callers beyond loopback (containers need it)")

	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(stdout, usage)
			fs.SetOutput(stdout)
			fs.PrintDefaults()
		}
		return s, err
	}
	if fs.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	var err error
	if o.ClientSecret, err = clientSecret(*secret, getenv); err != nil {
		return s, err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.log)); err != nil {
		return s, fmt.Errorf("--log: %q is not debug, info, warn or error", s.log)
	}
	o.Logger = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	return s, o.Validate()
}

// clientSecret is the flag's, else the environment's, else of the file that the
// environment names. The default is not the flag's, because help prints defaults.
func clientSecret(flagged string, getenv func(string) string) (string, error) {
	given := or(flagged, getenv("FINX_CLIENT_SECRET"))
	path := getenv("FINX_CLIENT_SECRET_FILE")
	if given != "" || path == "" {
		return or(given, defaultClientSecret), nil
	}
	data, err := os.ReadFile(path) //nolint:gosec // the operator's own file
	if err != nil {
		return "", fmt.Errorf("FINX_CLIENT_SECRET_FILE: %w", err)
	}
	given = strings.TrimRight(string(data), "\r\n")
	if given == "" {
		return "", errors.New("FINX_CLIENT_SECRET_FILE: the file is empty")
	}
	return given, nil
}

func tokenFlags(fs *flag.FlagSet, o *finxtest.Options) {
	fs.DurationVar(&o.CodeGrace, "code-grace", 0, "how long an exchanged code answers with the same pair again; 0, as RFC 6749 wants it: not at all")
	fs.DurationVar(&o.Grace, "grace", 0, "how long a rotated refresh token answers with the same pair again; 0: not at all")
	fs.BoolVar(&o.RevokeOnReuse, "revoke-on-reuse", false, "a reused refresh token revokes all that came of its code")
	fs.BoolVar(&o.KeepRefreshToken, "keep-refresh-token", false, "refresh answers carry no new refresh token")
	fs.DurationVar(&o.LinkLifetime, "link-lifetime", 24*time.Hour, "life of a widget link")
	fs.DurationVar(&o.CodeLifetime, "code-lifetime", time.Hour, "life of an authorization code")
	fs.DurationVar(&o.AccessLifetime, "access-lifetime", time.Hour, "life of an access token")
	fs.DurationVar(&o.RefreshLifetime, "refresh-lifetime", 90*24*time.Hour, "life of a refresh token")
	fs.DurationVar(&o.ConsentLifetime, "consent-lifetime", 180*24*time.Hour, "how long the bank gives data after an approval")
	fs.IntVar(&o.CodeBytes, "code-bytes", 0, "length of codes, 20 to 65536 (default: as in the documents)")
	fs.IntVar(&o.AccessTokenBytes, "access-token-bytes", 0, "length of access tokens, 20 to 65536 (default: as in the documents)")
	fs.IntVar(&o.RefreshTokenBytes, "refresh-token-bytes", 0, "length of refresh tokens, 20 to 65536 (default: as in the documents)")
	fs.StringVar((*string)(&o.TokenErrors), "token-errors", "oauth", "error shape of /auth/token: oauth or finx")
	fs.StringVar(&o.CancelParam, "cancel-param", "cancel", "callback parameter of a cancelled widget: cancel or abort")
	fs.BoolVar(&o.SyncWithoutCode, "sync-without-code", false, "callbacks of /ongoing/sync links carry no code")
	fs.BoolVar(&o.StrictTypes, "strict-types", false, "refuse \"true\" for true and unknown fields")
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
