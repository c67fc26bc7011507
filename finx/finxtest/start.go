package finxtest

import (
	"net/http/httptest"
	"testing"
)

// Start runs a Sandbox on a loopback port until the test ends and returns it
// with its base URL (no trailing slash). Connections still open at the end are
// cut, so a forgotten slow drip does not hang the test.
func Start(t testing.TB, o Options) (s *Sandbox, baseURL string) {
	t.Helper()
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	s = New(o)
	srv := httptest.NewServer(s)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return s, srv.URL
}
