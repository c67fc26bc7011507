package finx

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	"github.com/finx-connector/finx-connector/internal/secret"
)

// instant answers every request from memory, so that what is measured is ours.
type instant struct{ body []byte }

// RoundTrip is http.RoundTripper's.
func (t instant) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{}, Request: r,
		ContentLength: int64(len(t.body)), Body: io.NopCloser(bytes.NewReader(t.body)),
	}, nil
}

// The cost of a call beside the wire and the server.
func BenchmarkDo(b *testing.B) {
	c, err := New(Config{
		BaseURL: "https://finx.test", ClientID: "c", ClientSecret: secret.New("some secret"),
		Transport: instant{[]byte(`{"accounts":[{"account_id":"A1.2"}]}`)},
	})
	if err != nil {
		b.Fatal(err)
	}
	access := secret.New("an access token")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Accounts(b.Context(), access); err != nil {
			b.Fatal(err)
		}
	}
}
