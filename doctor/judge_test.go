package doctor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/natsconn"
	"github.com/finx-connector/finx-connector/settings"
	"github.com/finx-connector/finx-connector/streams"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// defaults are the settings of somebody who sets nothing.
func defaults(t *testing.T) settings.Settings {
	t.Helper()
	s, err := settings.Load("", func(string) string { return "" }, nil, settings.Need{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// expect compares the one finding on a sheet.
func expect(t *testing.T, sheet *Sheet, want Verdict, says ...string) {
	t.Helper()
	if len(sheet.findings) != 1 {
		t.Fatalf("%+v", sheet.findings)
	}
	f := sheet.findings[0]
	if f.Verdict != want || (f.Remedy == "") == (want == Warn || want == Fail) {
		t.Errorf("%+v, want %s", f, want)
	}
	for _, text := range says {
		if !strings.Contains(f.Seen+"\n"+f.Remedy, text) {
			t.Errorf("%+v does not say %q", f, text)
		}
	}
}

// What in-process brokers cannot be brought to.
func TestJudgingStreams(t *testing.T) {
	now := time.Now()
	for name, tt := range map[string]struct {
		health streams.StreamHealth
		want   Verdict
		says   []string
	}{
		"empty":          {streams.StreamHealth{}, OK, []string{"0 messages"}},
		"no leader":      {streams.StreamHealth{Replicas: 3, Peers: streams.Peers{Leaderless: true, Offline: []string{"n2", "n3"}}}, Fail, []string{"nobody leads it, offline: n2, n3", "start the servers"}},
		"one is offline": {streams.StreamHealth{Replicas: 3, Peers: streams.Peers{Offline: []string{"n2"}}}, Warn, []string{"offline: n2", "one more down"}},
		"one is behind":  {streams.StreamHealth{Replicas: 3, Peers: streams.Peers{Lagging: []string{"n3"}}}, Warn, []string{"behind: n3"}},
		"it lost some":   {streams.StreamHealth{Messages: 9, Lost: 3}, Fail, []string{"has lost 3 of them", "copy anew"}},
		"filling up":     {streams.StreamHealth{Bytes: 71, MaxBytes: 100}, Warn, []string{"71 % of max_bytes", "STREAM_MAX_BYTES"}},
		"full":           {streams.StreamHealth{Bytes: 99, MaxBytes: 100}, Fail, []string{"refuses every publisher"}},
		"roomy, and old": {streams.StreamHealth{Bytes: 10, MaxBytes: 100, Messages: 1, Oldest: now.Add(-72 * time.Hour), At: now}, OK, []string{"the oldest 3d, 10 %"}},
	} {
		t.Run(name, func(t *testing.T) {
			sheet := &Sheet{}
			judgeStream(sheet, tt.health)
			expect(t, sheet, tt.want, tt.says...)
		})
	}
}

func TestJudgingConsumers(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for name, tt := range map[string]struct {
		health streams.ConsumerHealth
		want   Verdict
		says   []string
	}{
		"idle":             {streams.ConsumerHealth{}, OK, nil},
		"at work":          {streams.ConsumerHealth{Pending: 7, AckPending: 2, Redelivered: 1, Waiting: 3, MaxAckPending: 100, Oldest: ago(time.Minute)}, OK, []string{"7 wait, 2 in work, 1 of them delivered again, 3 pulls open, the oldest 60s"}},
		"no leader":        {streams.ConsumerHealth{Peers: streams.Peers{Leaderless: true}}, Fail, []string{"nobody leads it"}},
		"paused":           {streams.ConsumerHealth{Stream: "S", Name: "c", Paused: time.Hour}, Warn, []string{"another 1h0m0s", "nats consumer resume S c"}},
		"nobody takes":     {streams.ConsumerHealth{Pending: 1, Oldest: ago(time.Hour)}, Warn, []string{"nobody takes them", "start finx-connector serve"}},
		"waits long":       {streams.ConsumerHealth{Pending: 1, Waiting: 2, Oldest: ago(time.Hour)}, Warn, []string{"waited long", "/readyz"}},
		"near its bound":   {streams.ConsumerHealth{AckPending: 80, MaxAckPending: 100}, Warn, []string{"max_ack_pending is 100"}},
		"at its bound":     {streams.ConsumerHealth{AckPending: 100, MaxAckPending: 100}, Fail, []string{"max_ack_pending is 100"}},
		"about to be lost": {streams.ConsumerHealth{Pending: 1, MaxAge: 24 * time.Hour, Oldest: ago(13 * time.Hour)}, Fail, []string{"drops what is older than 24h0m0s", "STREAM_MAX_AGE"}},
		"half a day left":  {streams.ConsumerHealth{Pending: 1, Waiting: 1, MaxAge: 48 * time.Hour, Oldest: ago(13 * time.Hour)}, Warn, []string{"waited long"}},
	} {
		t.Run(name, func(t *testing.T) {
			tt.health.At = now
			sheet := &Sheet{}
			judgeConsumer(sheet, tt.health)
			expect(t, sheet, tt.want, tt.says...)
		})
	}
}

func TestJudgingTheAccount(t *testing.T) {
	for name, tt := range map[string]struct {
		account streams.Account
		want    Verdict
		says    []string
	}{
		"no limits":        {streams.Account{MaxStore: -1, MaxStreams: -1}, OK, []string{"has none"}},
		"room":             {streams.Account{Store: 10, MaxStore: 100, Streams: 10, MaxStreams: 20}, OK, []string{"10 of 20 streams, 10 B of 100 B"}},
		"no more streams":  {streams.Account{Streams: 10, MaxStreams: 10}, Warn, []string{"too tight: streams"}},
		"the disk fills":   {streams.Account{Store: 80, MaxStore: 100}, Warn, []string{"too tight: disk"}},
		"the disk is full": {streams.Account{Store: 99, MaxStore: 100}, Fail, []string{"too tight: disk"}},
		"few at once":      {streams.Account{MaxAckPending: 10}, Warn, []string{"max_ack_pending (10, our consumers ask for 5000)"}},
	} {
		t.Run(name, func(t *testing.T) {
			sheet := &Sheet{}
			checkLimits(sheet, tt.account)
			expect(t, sheet, tt.want, tt.says...)
		})
	}
}

// TestTheWayToNATS: what is said of a connection that leaves the machine.
func TestTheWayToNATS(t *testing.T) {
	s := defaults(t)
	look := func(f natsconn.Facts) Report {
		f.MaxPayload = 1 << 20
		b := Broker{
			Addresses: func(context.Context) []natsconn.Address { return nil },
			Connect:   func(context.Context) (natsconn.Facts, error) { return f, nil },
		}
		sheet := &Sheet{}
		checkConnection(t.Context(), sheet, s, b)
		return sheet.findings
	}
	bare := look(natsconn.Facts{Version: "2.12.3", Cluster: "c"})
	for check, want := range map[string]Verdict{"server": Fail, "TLS": Warn, "login": Warn, "max_payload": OK} {
		if f := find(t, bare, GroupNATS, check); f.Verdict != want {
			t.Errorf("%+v, want %s", f, want)
		}
	}
	for days, want := range map[int]Verdict{90: OK, 20: Warn, -1: Fail} {
		safe := look(natsconn.Facts{Version: "2.15.2", TLS: "TLS 1.3", Login: true, CertEnd: time.Now().Add(time.Duration(days) * 24 * time.Hour)})
		if f := find(t, safe, GroupNATS, "certificate"); f.Verdict != want {
			t.Errorf("%d days: %+v", days, f)
		}
		if find(t, safe, GroupNATS, "server").Verdict != OK || find(t, safe, GroupNATS, "TLS").Verdict != OK || find(t, safe, GroupNATS, "login").Verdict != OK {
			t.Errorf("%+v", safe)
		}
	}
}

// TestTheWayToVaultAndFinX: the same of the other two.
func TestTheWayToVaultAndFinX(t *testing.T) {
	s := defaults(t)
	s.FinX.BaseURL, s.Vault.Addr = "https://finx.example", "http://vault.example:8200"
	server := &vaultstore.ServerFacts{Initialized: true, Version: "1.20.0", Standby: true}
	vault := func(d vaultstore.Diagnosis) Report {
		return Run(t.Context(), time.Minute, nil, CheckVault(s, func(context.Context) (vaultstore.Diagnosis, error) { return d, nil }))
	}
	r := vault(vaultstore.Diagnosis{Server: server, Login: errors.New("vaultstore: no")})
	if f := find(t, r, GroupVault, "TLS"); f.Verdict != Warn || !strings.Contains(f.Seen, "tokens go in clear") {
		t.Errorf("%+v", f)
	}
	if f := find(t, r, GroupVault, "server"); !strings.Contains(f.Seen, "a standby") {
		t.Errorf("%+v", f)
	}
	s.Vault.SkipVerify = true
	r = vault(vaultstore.Diagnosis{Server: server, CertEnd: time.Now().Add(time.Hour), Login: errors.New("no")})
	if find(t, r, GroupVault, "TLS").Verdict != Warn || find(t, r, GroupVault, "certificate").Verdict != Warn {
		t.Errorf("%+v", r)
	}
	r = vault(vaultstore.Diagnosis{Server: &vaultstore.ServerFacts{}})
	if f := find(t, r, GroupVault, "server"); f.Verdict != Fail || !strings.Contains(f.Remedy, "vault operator init") {
		t.Errorf("%+v", f)
	}
	bank := func(d finx.Diagnosis) Report {
		return Run(t.Context(), time.Minute, Clocks(s, nil), CheckFinX(s, func(context.Context) (finx.Diagnosis, error) { return d, nil }))
	}
	r = bank(finx.Diagnosis{
		Host: "finx.example", Proxy: "proxy:3128", Found: []string{"192.0.2.1"}, TLS: "TLS 1.3", CertEnd: time.Now().Add(-time.Hour),
		Status: 200, IsFinX: true, Credentials: finx.Accepted, Date: time.Now(), Heard: time.Now(),
	})
	if f := find(t, r, GroupFinX, "network"); !strings.Contains(f.Seen, "finx.example (192.0.2.1) through the proxy proxy:3128") {
		t.Errorf("%+v", f)
	}
	if find(t, r, GroupFinX, "certificate").Verdict != Fail || find(t, r, GroupClock, "finX").Verdict != OK {
		t.Errorf("%+v", r)
	}
}

// TestDefaultsAreFine: nobody is warned of what we ship.
func TestDefaultsAreFine(t *testing.T) {
	s := defaults(t)
	r := Run(t.Context(), time.Minute, nil, CheckSettings(Settings{Settings: s}))
	if r.Count(Warn)+r.Count(Fail) != 0 {
		t.Errorf("%+v", r)
	}
}
