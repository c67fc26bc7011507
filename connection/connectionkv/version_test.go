package connectionkv_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// values returns what is stored in a bucket.
func values(t *testing.T, js jetstream.JetStream, bucket string) map[string]string {
	t.Helper()
	kv, err := js.KeyValue(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := kv.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, key := range keys {
		e, err := kv.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		all[key] = string(e.Value())
	}
	return all
}

func put(t *testing.T, js jetstream.JetStream, bucket, key, value string) {
	t.Helper()
	kv, err := js.KeyValue(t.Context(), bucket)
	if err == nil {
		_, err = kv.Put(t.Context(), key, []byte(value))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestBindingsKeepWhatTheyDoNotKnow(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	makeBuckets(t, js, 1)
	makeBucket(t, js, jetstream.KeyValueConfig{Bucket: connectionkv.BucketControl, History: 1, LimitMarkerTTL: time.Minute})
	s := newStore(t, js)
	if err := s.BindState(t.Context(), "state-1", "id-1"); err != nil {
		t.Fatal(err)
	}
	var key string
	for k := range values(t, js, connectionkv.BucketConnections) {
		key = k
	}
	put(t, js, connectionkv.BucketConnections, key, `{"v":1,"connection_id":"id-1","later":{"a":[1]}}`)
	seen, err := s.LookupState(t.Context(), "state-1")
	if err != nil || seen.ConnectionID != "id-1" {
		t.Fatalf("%+v, %v", seen, err)
	}
	if err := s.ConsumeState(t.Context(), "state-1", seen, "hash", time.Now()); err != nil {
		t.Fatal(err)
	}
	got := values(t, js, connectionkv.BucketConnections)[key]
	if !strings.Contains(got, `"code_sha256":"hash"`) || !strings.Contains(got, `"later":{"a":[1]}`) || !json.Valid([]byte(got)) {
		t.Errorf("%s", got)
	}
	// A newer one waits, whatever its members are by then, and is left as it is.
	const newer = `{"v":2,"connection_id":["id-1","id-2"]}`
	put(t, js, connectionkv.BucketConnections, key, newer)
	for name, err := range map[string]error{
		"look up": func() error { _, err := s.LookupState(t.Context(), "state-1"); return err }(),
		"consume": s.ConsumeState(t.Context(), "state-1", connectionkv.StateBinding{}, "hash", time.Now()),
		"bind":    s.BindState(t.Context(), "state-1", "id-1"),
	} {
		if fault.Of(err) != fault.WaitUntil || !strings.Contains(err.Error(), "version 2 is newer than 1, the highest this program reads") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := values(t, js, connectionkv.BucketConnections)[key]; got != newer {
		t.Errorf("it was written over: %s", got)
	}
}

func TestNotesSayTheirVersion(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	makeBuckets(t, js, 1)
	makeBucket(t, js, jetstream.KeyValueConfig{Bucket: connectionkv.BucketControl, History: 1, LimitMarkerTTL: time.Minute})
	s := newStore(t, js)
	lease, err := s.Acquire(t.Context(), "tokens.id-1", "me", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lease.Release(t.Context()) }()
	if got := values(t, js, connectionkv.BucketLeases)["tokens.id-1"]; !strings.HasPrefix(got, `{"v":1,"owner":"me",`) {
		t.Errorf("lease %s", got)
	}
	c, err := connectionkv.NewControl(connectionkv.ControlConfig{JS: js, Holder: "me"})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.Begun(t.Context(), "S", 7); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	got := values(t, js, connectionkv.BucketControl)["suspect.S.7"]
	if !strings.HasPrefix(got, `{"v":1,"begun":1,`) {
		t.Errorf("suspect %s", got)
	}
	// One of before there was a version counts on, a newer one is left as it is.
	put(t, js, connectionkv.BucketControl, "suspect.S.7", strings.Replace(got, `"v":1,`, "", 1))
	if n, err := c.Begun(t.Context(), "S", 7); err != nil || n != 2 {
		t.Errorf("%d, %v", n, err)
	}
	put(t, js, connectionkv.BucketControl, "suspect.S.7", `{"v":2,"begun":9}`)
	if n, err := c.Begun(t.Context(), "S", 7); n != 0 || fault.Of(err) != fault.WaitUntil {
		t.Errorf("%d, %v", n, err)
	}
	if got := values(t, js, connectionkv.BucketControl)["suspect.S.7"]; got != `{"v":2,"begun":9}` {
		t.Errorf("it was written over: %s", got)
	}
}
