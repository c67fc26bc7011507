package connectionkv_test

import (
	"errors"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

func TestSharedStatesThatAreKeptForATime(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	makeControl(t, js, 1)
	c := openControl(t, connectionkv.ControlConfig{JS: js})
	first, err := c.SaveFor(t.Context(), "replay.a", []byte("1"), 0, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for what, revision := range map[string]uint64{"another first": 0, "an older one": first + 7} {
		if _, err := c.SaveFor(t.Context(), "replay.a", []byte("x"), revision, time.Hour); !errors.Is(err, connection.ErrConflict) {
			t.Errorf("%s: %v", what, err)
		}
	}
	second, err := c.SaveFor(t.Context(), "replay.a", []byte("2"), first, time.Second)
	if err != nil || second <= first {
		t.Fatalf("revision %d after %d, %v", second, first, err)
	}
	if value, revision, err := c.Load(t.Context(), "replay.a"); err != nil || string(value) != "2" || revision != second {
		t.Errorf("%q at %d, %v", value, revision, err)
	}
	// The second save's life counts, not the first one's.
	natstest.Eventually(t, 20*time.Second, func() bool {
		_, revision, err := c.Load(t.Context(), "replay.a")
		return err == nil && revision == 0
	}, "the state is gone after its time")
	if _, err := c.SaveFor(t.Context(), "replay.a", []byte("3"), 0, time.Hour); err != nil {
		t.Errorf("after its time: %v", err)
	}
	if _, err := c.SaveFor(t.Context(), "no such*key", nil, 0, time.Hour); fault.Of(err) != fault.GiveUp {
		t.Errorf("an odd key: %v", err)
	}
	if _, err := c.SaveFor(t.Context(), "replay.b", nil, 0, 0); err == nil {
		t.Error("no time at all is taken")
	}
}
