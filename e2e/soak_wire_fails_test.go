package e2e_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func decode(t *testing.T, raw []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(raw, v); err != nil {
		t.Fatal(err)
	}
}

// TestAWireIsCutAndMended: a call through it works, is reset, hangs, and works again.
func TestAWireIsCutAndMended(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") }))
	t.Cleanup(server.Close)
	w := newWire(t, strings.TrimPrefix(server.URL, "http://"))
	client := &http.Client{Timeout: 300 * time.Millisecond}
	t.Cleanup(client.CloseIdleConnections)
	get := func() error {
		resp, err := client.Get("http://" + w.addr())
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	timedOut := func(err error) bool { return err != nil && strings.Contains(err.Error(), "Timeout") }
	client.Timeout = within
	if err := get(); err != nil {
		t.Fatal(err)
	}
	w.set(cut)
	if err := get(); err == nil || timedOut(err) {
		t.Errorf("cut: %v", err)
	}
	w.set(stalled)
	client.Timeout = 300 * time.Millisecond
	if err := get(); !timedOut(err) {
		t.Errorf("stalled: %v", err)
	}
	client.Timeout = within
	ended := make(chan error, 1)
	go func() { ended <- get() }()
	w.set(whole)
	if err := <-ended; err != nil {
		t.Errorf("mended: %v", err)
	}
}
