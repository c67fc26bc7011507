package connectionkv_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
)

// A cluster refuses a write while the one before it is still on its way, too.
// While the key has not moved that is no conflict, and the caller must not be
// told that somebody else wrote.
func TestARefusalWhileTheKeyHasNotMovedIsNoConflict(t *testing.T) {
	for _, code := range []jetstream.ErrorCode{jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant} {
		w, s := newWire(t)
		refuse := func(func() error) error { return &jetstream.APIError{Code: http.StatusBadRequest, ErrorCode: code} }
		rec := connection.New(events.NewUUID(), "u", time.Now().UTC())
		w.hook = refuse
		revision, err := s.Create(t.Context(), rec)
		if err != nil {
			t.Fatalf("code %d, creating: %v", code, err)
		}
		rec.TrackingID = "changed"
		w.hook = refuse
		if _, err := s.Update(t.Context(), rec, revision); err != nil {
			t.Errorf("code %d, updating: %v", code, err)
		}
	}
}
