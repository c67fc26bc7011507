package e2e_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// TestWhatTheBrokerKeepsOnDisk: the store of a broker holds users in plain, and one
// with a key does not; for the connector they are the same.
func TestWhatTheBrokerKeepsOnDisk(t *testing.T) {
	t.Parallel()
	const user = "on-disk@example.com"
	for name, c := range map[string]struct {
		key   string
		plain bool
	}{"without a key": {plain: true}, "with a key": {key: "a key of the operator, for this test only"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var broker *natstest.Server
			r := newRig(t, options{
				memory: true, sandbox: finxtest.Options{Shape: finxtest.Shape{Accounts: 1, Transactions: 5}},
				broker: func(t testing.TB) string {
					t.Helper()
					broker = natstest.Start(t, natstest.StoreDir(dir), natstest.WithOptions(func(o *server.Options) {
						if o.JetStreamKey = c.key; c.key != "" {
							o.JetStreamCipher = server.AES
						}
					}))
					return broker.URL()
				},
			})
			stop := r.start()
			r.establish(user)
			stop()
			broker.Stop() // everything is written
			if got := onDisk(t, dir, user); got != c.plain {
				t.Errorf("the user is on disk: %t", got)
			}
			broker.Restart()
			again, err := natstest.JetStream(t, broker.URL()).Stream(t.Context(), events.StreamEvents)
			if err != nil || again.CachedInfo().State.Msgs < 4 {
				t.Errorf("after a restart: %v", err)
			}
		})
	}
}

// onDisk reports whether any file below dir holds a text.
func onDisk(t *testing.T, dir, text string) (found bool) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		found = found || bytes.Contains(raw, []byte(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
