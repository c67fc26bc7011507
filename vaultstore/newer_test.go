package vaultstore_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/vaultstore"
	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

// What a newer program wrote waits until a replica can read it, whatever its members
// are by then; it is nobody's failure and says nothing against Vault.
func TestNewerRecordsWait(t *testing.T) {
	t.Parallel()
	for _, data := range []string{`{"v":2,"access_token":"` + theSecret + `"}`, `{"v":2,"access_token":{"sealed":"` + theSecret + `"}}`} {
		store, _ := scripted(t, answer(200, `{"data":{"data":`+data+`,"metadata":{"version":1}}}`))
		_, v, err := store.Get(t.Context(), vaultstoretest.NewID())
		if fault.Of(err) != fault.WaitUntil || fault.DependencyOf(err) != "" || v != 0 || errors.Is(err, vaultstore.ErrNotFound) ||
			!strings.Contains(err.Error(), "a newer version of the program wrote it: version 2, the highest that is read is 1") {
			t.Errorf("%s: version %d, %v", data, v, err)
		}
		if strings.Contains(err.Error(), theSecret) {
			t.Errorf("the error shows the token: %v", err)
		}
	}
}
