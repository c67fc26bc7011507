package streams

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

func TestServersKnown(t *testing.T) {
	for name, tc := range map[string]struct {
		urls []string
		want int
	}{
		"one":                               {[]string{"nats://127.0.0.1:4222"}, 1},
		"one under two names":               {[]string{"nats://localhost:4222", "nats://127.0.0.1:4222"}, 1},
		"three addresses":                   {[]string{"nats://10.0.0.1:4222", "nats://10.0.0.2:4222", "nats://10.0.0.3:4222"}, 3},
		"a service name before two of them": {[]string{"nats://nats:4222", "nats://10.0.0.1:4222", "nats://10.0.0.2:4222"}, 2},
		"three names":                       {[]string{"tls://a:4222", "tls://b:4222", "tls://c:4222"}, 3},
		"not a url":                         {[]string{"://"}, 0},
	} {
		if got := serversKnown(tc.urls); got != tc.want {
			t.Errorf("%s: %d servers, want %d", name, got, tc.want)
		}
	}
}

func TestTooFewServers(t *testing.T) {
	api := func(code jetstream.ErrorCode, text string) error {
		return fmt.Errorf("creating: %w", &jetstream.APIError{Code: 400, ErrorCode: code, Description: text})
	}
	for name, tc := range map[string]struct {
		err  error
		want bool
	}{
		"no cluster":         {api(10074, "replicas > 1 not supported in non-clustered mode"), true},
		"too small":          {api(10005, "no suitable peers for placement"), true},
		"a peer is away":     {api(10005, "no suitable peers for placement, peer offline"), false},
		"a peer's disk full": {api(10005, "no suitable peers for placement, insufficient storage"), false},
		"something else":     {api(10052, "invalid configuration"), false},
		"no answer":          {context.DeadlineExceeded, false},
		"nothing":            {nil, false},
	} {
		if got := tooFewServers(tc.err); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestJudge(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want fault.Verdict
	}{
		"refused configuration": {&jetstream.APIError{Code: 400, ErrorCode: 10052}, fault.GiveUp},
		"broker in trouble":     {&jetstream.APIError{Code: 503, ErrorCode: 10008}, fault.Retry},
		"no answer":             {context.DeadlineExceeded, fault.Retry},
	} {
		err := judge(fmt.Errorf("streams: updating: %w", tc.err))
		if fault.Of(err) != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%s: %v, verdict %v", name, err, fault.Of(err))
		}
	}
}

// TestNodeAwayDoesNotMeanOneReplica: whatever the broker makes of a request for
// three copies with one of three servers down, one copy must not come of it.
func TestNodeAwayDoesNotMeanOneReplica(t *testing.T) {
	cluster := natstest.Cluster(t, 3)
	js := natstest.JetStream(t, cluster.URL())
	natstest.Eventually(t, 10*time.Second, func() bool { return len(js.Conn().Servers()) >= 3 }, "client knows three servers")
	cluster.Kill(2)
	cluster.WaitReady()
	topology := Plan(Config{})
	natstest.Eventually(t, 30*time.Second, func() bool {
		changes, err := topology.Diff(t.Context(), js)
		if err != nil {
			return false
		}
		if err = topology.Apply(t.Context(), js, changes); err != nil {
			t.Logf("apply: %.200s", err)
		}
		s, err := js.Stream(t.Context(), events.StreamEvents)
		if err != nil {
			cluster.Restart(2)
			return false
		}
		if got := s.CachedInfo().Config.Replicas; got != 3 {
			t.Fatalf("%d replicas", got)
		}
		return true
	}, "three replicas in the end")
}
