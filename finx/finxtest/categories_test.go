package finxtest

import (
	"net/http"
	"testing"
)

func TestCategoriesNeedTheClient(t *testing.T) {
	s, url := Start(t, Options{ClientID: "c", ClientSecret: "s"})
	for name, tc := range map[string]struct {
		secret string
		want   int
	}{
		"the client":  {"s", http.StatusOK},
		"another one": {"x", http.StatusUnauthorized},
		"no secret":   {"", http.StatusUnauthorized},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/category-tree", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("c", tc.secret)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != tc.want {
			t.Errorf("%s: status %d, want %d", name, resp.StatusCode, tc.want)
		}
	}
	if got := s.Stats().Calls["categories"]; got[http.StatusOK] != 1 || got[http.StatusUnauthorized] != 2 {
		t.Errorf("calls counted: %v", got)
	}
}
