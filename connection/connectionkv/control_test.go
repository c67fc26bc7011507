package connectionkv_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/connection/connectionkv/connectionkvtest"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// What tests use instead of seconds.
const (
	testBeat    = 200 * time.Millisecond
	testCompare = 500 * time.Millisecond
	testTTL     = 4 * time.Second
	testRenew   = 500 * time.Millisecond
)

// makeControl makes the bucket, as `streams apply` would.
func makeControl(t *testing.T, js jetstream.JetStream, replicas int) {
	t.Helper()
	makeBucket(t, js, jetstream.KeyValueConfig{Bucket: connectionkv.BucketControl, History: 1, Replicas: replicas, LimitMarkerTTL: time.Minute})
}

func openControl(t *testing.T, c connectionkv.ControlConfig) *connectionkv.Control {
	t.Helper()
	if c.Holder == "" {
		c.Holder = "a"
	}
	if c.ReplicaTTL == 0 {
		c.ReplicaTTL, c.ReplicaRenew = testTTL, testRenew
	}
	control, err := connectionkv.NewControl(c)
	if err != nil {
		t.Fatal(err)
	}
	control.SetPace(testBeat, testCompare)
	return control
}

// controlRig lets every replica have a connection of its own, which can be cut.
func controlRig(t *testing.T, url string) connectionkvtest.ControlRig {
	t.Helper()
	operator := natstest.JetStream(t, url)
	replicas := map[string]jetstream.JetStream{}
	return connectionkvtest.ControlRig{
		Open: func(t *testing.T, holder string) connectionkvtest.Controller {
			t.Helper()
			replicas[holder] = natstest.JetStream(t, url)
			return openControl(t, connectionkv.ControlConfig{JS: replicas[holder], Holder: holder})
		},
		Delete: func(t *testing.T, key string) {
			t.Helper()
			kv, err := operator.KeyValue(t.Context(), connectionkv.BucketControl)
			if err == nil {
				err = kv.Delete(t.Context(), key)
			}
			if err != nil {
				t.Fatal(err)
			}
		},
		Kill: func(holder string) { replicas[holder].Conn().Close() },
		TTL:  testTTL,
	}
}

func TestControlKeepsTheContract(t *testing.T) {
	url := natstest.Start(t).URL()
	makeControl(t, natstest.JetStream(t, url), 1)
	connectionkvtest.RunControl(t, func(t *testing.T) connectionkvtest.ControlRig { return controlRig(t, url) })
}

func TestControlKeepsTheContractOnThreeNodes(t *testing.T) {
	url := natstest.Cluster(t, 3).URL()
	makeControl(t, natstest.JetStream(t, url), 3)
	connectionkvtest.RunControl(t, func(t *testing.T) connectionkvtest.ControlRig { return controlRig(t, url) })
}

func TestControlNeedsWhatItNeeds(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	for want, c := range map[string]connectionkv.ControlConfig{
		"no JetStream handle":   {Holder: "a"},
		"no name of the holder": {JS: js},
		"cannot live for 10s":   {JS: js, Holder: "a", ReplicaTTL: 10 * time.Second},
	} {
		if _, err := connectionkv.NewControl(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestControlCheckNamesTheRemedy(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	c, ctx := openControl(t, connectionkv.ControlConfig{JS: js}), t.Context()
	wantCheck := func(want string) {
		t.Helper()
		if err := c.Check(ctx); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "streams apply") || fault.DependencyOf(err) != fault.NATS {
			t.Errorf("Check: %v, want %q", err, want)
		}
	}
	wantRetry := func(what string, err error) {
		t.Helper()
		if fault.Of(err) != fault.Retry || fault.DependencyOf(err) != fault.NATS || fault.IsAmbiguous(err) {
			t.Errorf("%s: %v, verdict %v of %q", what, err, fault.Of(err), fault.DependencyOf(err))
		}
	}
	wantCheck("finx_control: it does not exist")
	_, _, loadErr := c.Load(ctx, "breaker.finx")
	_, saveErr := c.Save(ctx, "breaker.finx", []byte("x"), 0)
	_, begunErr := c.Begun(ctx, "S", 1)
	wantRetry("Load", loadErr)
	wantRetry("Save", saveErr)
	wantRetry("Begun", begunErr)
	wantRetry("Returned", c.Returned(ctx, "S", 1))

	if _, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: connectionkv.BucketControl}); err != nil {
		t.Fatal(err)
	}
	wantCheck("finx_control: it does not allow keys with a TTL")
	_, begunErr = c.Begun(ctx, "S", 1)
	wantRetry("Begun without TTL", begunErr)
	if _, err := c.Save(ctx, "breaker.finx", []byte("x"), 0); err != nil { // needs none
		t.Errorf("Save: %v", err)
	}
	makeControl(t, js, 1)
	if err := c.Check(ctx); err != nil {
		t.Errorf("Check of what streams apply makes: %v", err)
	}
}

func TestASaveWhoseAnswerIsLost(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	makeControl(t, js, 1)
	w := &wire{JetStream: js, codes: map[jetstream.ErrorCode]int{}}
	c, ctx := openControl(t, connectionkv.ControlConfig{JS: w}), t.Context()
	w.hook = answerLost
	revision, err := c.Save(ctx, "breaker.finx", []byte("one"), 0)
	if err != nil {
		t.Fatalf("Save: %v", err)
	}
	w.hook = requestLost
	if _, err := c.Save(ctx, "breaker.finx", []byte("two"), revision); !fault.IsAmbiguous(err) || fault.DependencyOf(err) != fault.NATS {
		t.Errorf("Save: %v", err)
	}
	if got, at, err := c.Load(ctx, "breaker.finx"); string(got) != "one" || at != revision || err != nil {
		t.Errorf("Load: %q at %d, %v", got, at, err)
	}
	w.hook = answerLost
	if times, err := c.Begun(ctx, "S", 1); times != 1 || err != nil {
		t.Errorf("Begun: %d, %v", times, err)
	}
	w.hook = answerLost
	if err := c.Returned(ctx, "S", 1); err != nil {
		t.Errorf("Returned: %v", err)
	}
	if times, err := c.Begun(ctx, "S", 1); times != 1 || err != nil {
		t.Errorf("Begun after it returned: %d, %v", times, err)
	}
}

func TestSuspectsAreForgotten(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	makeControl(t, js, 1)
	c, ctx := openControl(t, connectionkv.ControlConfig{JS: js}), t.Context()
	c.SetSuspectTTL(time.Second)
	for want := 1; want <= 2; want++ {
		if times, err := c.Begun(ctx, "S", 1); times != want || err != nil {
			t.Fatalf("Begun: %d, %v", times, err)
		}
	}
	kv, err := js.KeyValue(ctx, connectionkv.BucketControl)
	if err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, 20*time.Second, func() bool {
		_, err := kv.Get(ctx, "suspect.S.1")
		return err != nil
	}, "the note is gone")
	if times, err := c.Begun(ctx, "S", 1); times != 1 || err != nil {
		t.Errorf("Begun a day later: %d, %v", times, err)
	}
}

func TestAnUnreadableSuspectIsBegunAnew(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	makeControl(t, js, 1)
	c, ctx := openControl(t, connectionkv.ControlConfig{JS: js}), t.Context()
	kv, err := js.KeyValue(ctx, connectionkv.BucketControl)
	if err != nil {
		t.Fatal(err)
	}
	for _, note := range []string{"not json", `{"begun":-5}`, ""} {
		if _, err := kv.PutString(ctx, "suspect.S.1", note); err != nil {
			t.Fatal(err)
		}
		for want := 1; want <= 2; want++ {
			if times, err := c.Begun(ctx, "S", 1); times != want || err != nil {
				t.Errorf("%q: Begun: %d, %v; want %d", note, times, err, want)
			}
		}
	}
}

func TestControlIsCounted(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t).URL())
	makeControl(t, js, 1)
	registry := prometheus.NewRegistry()
	c, ctx := openControl(t, connectionkv.ControlConfig{JS: js, Metrics: connectionkv.NewMetrics(registry)}), t.Context()
	if _, err := c.Save(ctx, "breaker.finx", []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Save(ctx, "breaker.finx", []byte("x"), 0); err == nil {
		t.Fatal("saved over a value")
	}
	if _, _, err := c.Load(ctx, "breaker.finx"); err != nil {
		t.Fatal(err)
	}
	announce(t, c)
	natstest.Eventually(t, 10*time.Second, func() bool {
		return testutil.CollectAndCompare(registry, strings.NewReader(`
			# HELP finx_connector_connectionkv_replicas Live replicas as this one knows of them, itself included; 0 before it has asked.
			# TYPE finx_connector_connectionkv_replicas gauge
			finx_connector_connectionkv_replicas 1
		`), "finx_connector_connectionkv_replicas") == nil
	}, "one replica is shown")
	const operations = "finx_connector_connectionkv_operations_total"
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == operations {
				got[m.GetLabel()[0].GetValue()+" "+m.GetLabel()[1].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	for series, want := range map[string]float64{"control_save ok": 1, "control_save conflict": 1, "control_load ok": 1, "control_watch error": 0} {
		if v, there := got[series]; !there || v != want {
			t.Errorf("%s: %v (there %t), want %v", series, v, there, want)
		}
	}
}
