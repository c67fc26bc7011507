package vaultstore

import (
	"encoding/json"
	"testing"
)

func TestHonoursNamespaces(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]bool{
		`{"version":"1.13.2"}`:                             false, // community edition before the flag
		`{"version":"1.13.2+ent"}`:                         true,
		`{"version":"1.15.4+ent.hsm.fips1402"}`:            true,
		`{"version":"1.15.4+entropy"}`:                     false, // somebody's own build
		`{"version":"1.19.0","enterprise":false}`:          false,
		`{"version":"2.4.0","enterprise":false}`:           false, // a Vault as new as OpenBao
		`{"version":"1.19.0+ent","enterprise":true}`:       true,
		`{"version":"","enterprise":true}`:                 true, // a listener that hides the version
		`{"version":"","enterprise":false}`:                false,
		`{"version":""}`:                                   false,
		`{}`:                                               false,
		`{"version":"2.0.3"}`:                              false, // OpenBao before namespaces
		`{"version":"2.2.2"}`:                              false,
		`{"version":"2.3.0"}`:                              true,
		`{"version":"v2.3.1"}`:                             true,
		`{"version":"2.10.0-beta20260101"}`:                true,
		`{"version":"3.0.0"}`:                              true,
		`{"version":"nonsense"}`:                           false,
		`{"version":"2"}`:                                  false,
		`{"version":"2.3.1","sealed":true,"standby":true}`: true,
	} {
		var h health
		if err := json.Unmarshal([]byte(answer), &h); err != nil {
			t.Fatal(err)
		}
		if got := h.honoursNamespaces(); got != want {
			t.Errorf("%s: %t", answer, got)
		}
	}
}
