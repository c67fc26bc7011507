package e2e_test

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// TestTheSpoolOutlivesVaultAndBroker takes Vault and the broker away while finX
// answers, and kills the process when the answer is nowhere but in its memory
// and in a directory of its host. The next process there brings it home.
func TestTheSpoolOutlivesVaultAndBroker(t *testing.T) {
	t.Parallel()
	sideBySide(t, 2, []string{exchange, refresh}, func(kind string) string { return kind }, func(t *testing.T, kind string) {
		broker := natstest.ExternalProcess(t)
		dir := t.TempDir()
		r, w := newRigWithOutage(t, sealed(), options{
			broker:  func(testing.TB) string { return broker.URL() },
			sandbox: finxtest.Options{RevokeOnReuse: true, Shape: finxtest.Shape{Accounts: 1, Transactions: 20}},
			env: map[string]string{
				"FINX_TIMEOUT_TOKEN": "10s", "CLOCK_SKEW": "1s", "ESCROW_KEY": escrowKey, "ESCROW_DIR": dir,
			},
		})
		env := maps.Clone(r.env)
		env["FINX_CRASHPOINTS"], env["LISTEN_ADDR"] = kind+".kept=kill", "127.0.0.1:0"
		p := launch(t, armed.path(t, "finx-connector"), env, "serve")
		c := r.exchanger(duringCall)
		if kind == refresh {
			c = r.refresher(duringCall)
			r.sandbox.Advance(2 * time.Hour)
		}
		held := w.next(spending(c.value))
		r.act(c)
		held.wait(t, "the token call")
		r.vault.Seal(t)
		broker.Kill()
		held.release()
		if code := p.wait(within); code != -1 {
			t.Fatalf("the process ended by itself with code %d", code)
		}
		for what, value := range map[string]any{
			"what was spent": c.value, "access token": r.answerTo(c.value)["access_token"], "refresh token": r.answerTo(c.value)["refresh_token"],
		} {
			text, _ := value.(string)
			if form := readable(spooledFile(t, dir), text); text == "" || form != "" {
				t.Errorf("the %s is in the spool as %q", what, form)
			}
		}
		broker.Start()
		r.vault.Unseal(t)
		r.serveAnywhere(true)
		r.finished(c)
		r.checkStored(c)
		natstest.Eventually(t, within, func() bool { return len(spool(t, dir)) == 0 }, "the spool is empty")
		if n := w.times(c.value); n != 1 {
			t.Errorf("%d calls to finX, want one", n)
		}
		if s := r.sandbox.Stats(); s.CodesReused+s.RefreshesReused+s.FamiliesRevoked != 0 {
			t.Errorf("%d codes and %d refresh tokens reused, %d families revoked", s.CodesReused, s.RefreshesReused, s.FamiliesRevoked)
		}
		r.nothingLost()
	})
}

// spool lists the files of a spool directory.
func spool(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// spooledFile is the one file there is, with its name.
func spooledFile(t *testing.T, dir string) []byte {
	t.Helper()
	files := spool(t, dir)
	if len(files) != 1 {
		t.Fatalf("in the spool: %v, want one file", files)
	}
	raw, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	return append(raw, files[0]...)
}
