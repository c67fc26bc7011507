package custody

import (
	"log/slog"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// KeepForBenchmark returns what custody does between an answer and its copy in the spool.
func KeepForBenchmark(tb testing.TB, spool *Spool) func() {
	tb.Helper()
	keys, err := NewStaticKeys(secret.New("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="))
	if err != nil {
		tb.Fatal(err)
	}
	k := &Keeper{cfg: Config{Logger: slog.New(slog.DiscardHandler), Escrow: &Escrow{Keys: keys, Spool: spool}}}
	k.keys = keyring{keys: keys, log: k.cfg.Logger}
	with, err := k.keys.ready(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	s := spend{id: "00000000-0000-0000-0000-000000000000", kind: kindRefresh, sha256: secret.New("spent").SHA256()}
	tokens := finx.Tokens{AccessToken: secret.New(string(make([]byte, 1200))), RefreshToken: secret.New(string(make([]byte, 1200))), ReceivedAt: time.Now()}
	return func() { k.keep(tb.Context(), s, &hold{in: &k.holding}, with, tokens) }
}
