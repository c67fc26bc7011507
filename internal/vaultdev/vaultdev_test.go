package vaultdev_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/finx-connector/finx-connector/internal/vaultdev"
)

func binary(t *testing.T) string {
	t.Helper()
	root, err := vaultdev.Root(".")
	if err != nil {
		t.Fatal(err)
	}
	path, err := vaultdev.Binary(t.Context(), root, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBinaryIsBuiltOnceForAll(t *testing.T) {
	t.Parallel()
	want := binary(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			root, err := vaultdev.Root(".")
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := vaultdev.Binary(t.Context(), root, nil); got != want || err != nil {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		})
	}
	wg.Wait()
}

func TestStartServesUntilStopped(t *testing.T) {
	t.Parallel()
	p, err := vaultdev.Start(t.Context(), binary(t), "-listen", "127.0.0.1:0", "-root-token", "test-root")
	if err != nil {
		t.Fatal(err)
	}
	if p.Token != "test-root" {
		t.Errorf("token %q", p.Token)
	}
	resp, err := http.Get(p.Addr + "/v1/sys/health")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("health: %s", resp.Status)
	}
	for range 2 { // the second time it is there
		if err := p.TransitKey(t.Context(), "escrow"); err != nil {
			t.Error(err)
		}
	}
	if err := p.TransitKey(t.Context(), "../mounts/x"); err == nil {
		t.Error("a path was taken for a name")
	}
	for range 2 {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestServerEndsWithItsParent(t *testing.T) {
	t.Parallel()
	p, err := vaultdev.Start(t.Context(), binary(t), "-listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.CloseStdin()
	select {
	case <-p.Done():
	case <-t.Context().Done():
		t.Fatal("still running")
	}
}

func TestStartTellsWhyItFailed(t *testing.T) {
	t.Parallel()
	_, err := vaultdev.Start(t.Context(), binary(t), "-listen", "192.0.2.1:8200")
	if err == nil || !strings.Contains(err.Error(), "not a loopback address") {
		t.Errorf("got %v", err)
	}
	_, err = vaultdev.Start(t.Context(), binary(t), "-listen", "127.0.0.1:0", "-storage", "raft")
	if err == nil || !strings.Contains(err.Error(), "needs -path") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := vaultdev.Start(ctx, binary(t), "-listen", "127.0.0.1:0"); err == nil {
		t.Error("started under a cancelled context")
	}
}

func TestRestartOnOldData(t *testing.T) {
	t.Parallel()
	for _, storage := range []string{"file", "raft"} {
		t.Run(storage, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			args := []string{"-listen", "127.0.0.1:0", "-storage", storage, "-path", dir}
			first, err := vaultdev.Start(t.Context(), binary(t), args...)
			if err != nil {
				t.Fatal(err)
			}
			if err := first.Kill(); err != nil {
				t.Fatal(err)
			}
			second, err := vaultdev.Start(t.Context(), binary(t), args...)
			if err != nil {
				t.Fatal(err)
			}
			if second.UnsealKey != first.UnsealKey {
				t.Error("another unseal key on the same data")
			}
			if err := second.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := second.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRootNeedsTheRepository(t *testing.T) {
	t.Parallel()
	if _, err := vaultdev.Root(t.TempDir()); err == nil {
		t.Error("found a repository in an empty directory")
	}
	root, err := vaultdev.Root(".")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Error(err)
	}
}
