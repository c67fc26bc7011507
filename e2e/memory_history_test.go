package e2e_test

import (
	"net/url"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
)

// TestMemoryOfALongHistory fetches one account with the real program and holds its
// memory to what it takes idle and 64 MiB, however long the account is; every byte
// is compared with what the bank serves.
func TestMemoryOfALongHistory(t *testing.T) {
	const bound = 64 * oneMiB
	transactions, least := 100_000, int64(50_000_000)
	if os.Getenv("FINX_TEST_LONG") != "" {
		transactions, least = 1_000_000, 500_000_000
	}
	const user = "memory@example.com"
	bank := startSandbox(t, "--accounts", "1", "--transactions", strconv.Itoa(transactions), "--pending", "0", "--log", "warn")
	r := newRig(t, options{blind: true, env: map[string]string{"FINX_BASE_URL": bank.base, "ACK_WAIT": "30s", "LOG_LEVEL": "info"}})
	r.env["VAULT_ADDR"] = r.vault.Addr // past the gates, which keep what passes
	p := r.serve()
	d := newDownstream(r, 512<<10)
	r.send(events.TypeConnectRequested, map[string]any{"user_id": user, "redirect_uri": redirectURI})
	link := d.until(events.TypeWidgetLinkCreated)
	p.idle(t)
	idle := p.resident().now
	p.forgetPeak()

	begun := time.Now()
	r.callback(bank.leave(link.Location, "approve"))
	completed := d.until(events.TypeFetchCompleted)
	took := time.Since(begun)
	peak := p.resident().peak
	t.Logf("%d transactions, %d MB, in %s; idle %.1f MiB, peak %.1f MiB", transactions, d.bytes/1_000_000, took.Round(time.Millisecond), float64(idle)/oneMiB, float64(peak)/oneMiB)
	if peak-idle > bound {
		t.Errorf("the peak is %.1f MiB above the idle process, bound %d MiB", float64(peak-idle)/oneMiB, bound/oneMiB)
	}

	if string(completed.Transactions) != strconv.Itoa(transactions) || len(completed.Accounts) != 1 {
		t.Fatalf("%s transactions of %d accounts, want %d of 1", completed.Transactions, len(completed.Accounts), transactions)
	}
	id := completed.Accounts[0].AccountID
	got, want := d.accounts[id], newStream()
	token := connected(t, bank.base, user, func(location string) *url.URL { return bank.leave(location, "approve") })
	everything(t, bank.base, token, id, d.windows[id], want.take)
	if got.count != transactions || got.String() != want.String() || got.parts != completed.Accounts[0].Parts {
		t.Errorf("%d transactions in %d parts are not byte for byte the %d that the bank serves", got.count, got.parts, want.count)
	}
	if d.bytes < least {
		t.Errorf("%d bytes of transactions, want at least %d", d.bytes, least)
	}
}
