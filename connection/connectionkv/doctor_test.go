package connectionkv_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

func TestSurveyReadsWhatReplicasShare(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	if _, err := connectionkv.Survey(t.Context(), js, time.Second); err == nil {
		t.Error("no error where there is no bucket")
	}
	makeControl(t, js, 1)
	makeBucket(t, js, jetstream.KeyValueConfig{Bucket: connectionkv.BucketEscrow, History: 1, LimitMarkerTTL: time.Minute})
	if got, err := connectionkv.Survey(t.Context(), js, 0); err != nil || len(got.Breakers)+len(got.Replicas)+got.Waiting+got.Suspects != 0 {
		t.Fatalf("of nothing: %+v, %v", got, err)
	}
	control, err := connectionkv.NewControl(connectionkv.ControlConfig{JS: js, Holder: "host-1", Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, ended := t.Context(), make(chan struct{})
	announced, cancel := context.WithCancel(context.WithoutCancel(ctx))
	go func() { defer close(ended); control.Announce(announced) }()
	t.Cleanup(func() { cancel(); <-ended })
	if _, err := control.Save(ctx, "breaker.finx", []byte(`{"why":"x"}`), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Begun(ctx, "S", 7); err != nil {
		t.Fatal(err)
	}
	escrow, err := connectionkv.NewEscrow(connectionkv.Config{JS: js})
	if err != nil {
		t.Fatal(err)
	}
	const id = "00000000-0000-4000-8000-00000000000"
	const sum = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	for _, key := range []string{id + "1." + sum, id + "2." + sum} {
		if err := escrow.Put(ctx, key, []byte("sealed")); err != nil {
			t.Fatal(err)
		}
	}
	if err := escrow.Delete(ctx, id+"2."+sum); err != nil {
		t.Fatal(err)
	}
	var got connectionkv.Shared
	natstest.Eventually(t, 10*time.Second, func() bool {
		got, err = connectionkv.Survey(ctx, js, 5*time.Second)
		return err == nil && len(got.Replicas) == 1
	}, "the replica is seen")
	if string(got.Breakers["finx"]) != `{"why":"x"}` || got.Waiting != 1 || time.Since(got.Oldest) > time.Minute || got.Suspects != 1 {
		t.Errorf("%+v", got)
	}
	if r := got.Replicas[0]; r.Holder != "host-1" || r.Version != "1.2.3" || time.Since(r.Since) > time.Minute {
		t.Errorf("%+v", r)
	}
	if raw, err := json.Marshal(connectionkv.Replica{Holder: "old"}); err != nil || string(raw) != `{"holder":"old","since":"0001-01-01T00:00:00Z"}` {
		t.Errorf("%s, %v", raw, err)
	}
}
