package publisher

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

func TestVerdicts(t *testing.T) {
	api := func(code jetstream.ErrorCode, description string) error {
		return fmt.Errorf("nats: %w", &jetstream.APIError{Code: 503, ErrorCode: code, Description: description})
	}
	p := newPublisher(t, Config{JS: natstest.JetStream(t, natstest.Start(t).URL())})
	for name, tc := range map[string]struct {
		err       error
		verdict   fault.Verdict
		ambiguous bool
		reason    reason
	}{
		"no stream":              {jetstream.ErrNoStreamResponse, fault.Retry, false, reasonNoStream},
		"no responders":          {nats.ErrNoResponders, fault.Retry, false, reasonNoStream},
		"jetstream off":          {api(10076, "jetstream not enabled"), fault.Retry, false, reasonNoStream},
		"attempt timed out":      {context.DeadlineExceeded, fault.Retry, true, reasonTimeout},
		"cancelled":              {context.Canceled, fault.Retry, true, reasonTimeout},
		"client timed out":       {nats.ErrTimeout, fault.Retry, true, reasonTimeout},
		"disconnected":           {nats.ErrDisconnected, fault.Retry, true, reasonDisconnected},
		"reconnecting":           {nats.ErrConnectionReconnecting, fault.Retry, true, reasonDisconnected},
		"nothing is buffered":    {nats.ErrReconnectBufExceeded, fault.Retry, true, reasonDisconnected},
		"closed":                 {nats.ErrConnectionClosed, fault.Retry, true, reasonDisconnected},
		"too many requests":      {api(10167, "too many requests"), fault.Retry, false, reasonBusy},
		"the same is in process": {api(10158, "duplicate message id is in process"), fault.Retry, false, reasonBusy},
		"full by bytes":          {api(10077, "maximum bytes exceeded"), fault.WaitUntil, false, reasonStoreFull},
		"full by messages":       {api(10077, "maximum messages exceeded"), fault.WaitUntil, false, reasonStoreFull},
		"disk full":              {api(10047, "insufficient storage resources available"), fault.WaitUntil, false, reasonStoreFull},
		"account's share used":   {api(10002, "resource limits exceeded for account"), fault.WaitUntil, false, reasonStoreFull},
		"store failed otherwise": {api(10077, "input/output error"), fault.Retry, false, reasonOther},
		"wrong stream":           {api(10060, "expected stream does not match"), fault.Retry, false, reasonWrongStream},
		"another was faster":     {api(10071, "wrong last sequence: 4"), fault.Retry, false, reasonConflict},
		"so say replicas":        {api(10164, "wrong last sequence"), fault.Retry, false, reasonConflict},
		"stream missing":         {fmt.Errorf("nats: %w", jetstream.ErrStreamNotFound), fault.Retry, false, reasonNoStream},
		"no schedules":           {api(10188, "message schedules is disabled"), fault.Retry, false, reasonWrongStream},
		"above max_payload":      {nats.ErrMaxPayload, fault.GiveUp, false, reasonOversize},
		"above max_msg_size":     {api(10054, "message size exceeds maximum allowed"), fault.GiveUp, false, reasonOversize},
		"never seen before":      {errors.New("boom"), fault.Retry, false, reasonOther},
		"code never seen before": {api(10999, "?"), fault.Retry, false, reasonOther},
	} {
		t.Run(name, func(t *testing.T) {
			err := p.judge("s", "S", tc.err)
			if got := fault.Of(err); got != tc.verdict {
				t.Errorf("verdict %v, want %v", got, tc.verdict)
			}
			if got := fault.IsAmbiguous(err); got != tc.ambiguous {
				t.Errorf("ambiguous %v, want %v", got, tc.ambiguous)
			}
			if got := reasonOf(err); got != tc.reason {
				t.Errorf("reason %v, want %v", got, tc.reason)
			}
			if tc.verdict == fault.GiveUp {
				if got := fault.ClassOf(err); got != fault.Oversize {
					t.Errorf("class %v", got)
				}
			} else if got := fault.DependencyOf(err); got != fault.NATS {
				t.Errorf("dependency %v", got)
			}
			if !errors.Is(err, tc.err) {
				t.Errorf("%v lost its cause", err)
			}
		})
	}
}

func TestRefusedPublishIsOfThisSubject(t *testing.T) {
	refused := fmt.Errorf("%w: Permissions Violation for Publish to \"a.b\"", nats.ErrPermissionViolation)
	for subject, want := range map[string]bool{"a.b": true, "a": false, "a.b.c": false} {
		if got := refusedPublish(refused, subject); got != want {
			t.Errorf("%s: %v", subject, got)
		}
	}
	if refusedPublish(nil, "a.b") || refusedPublish(nats.ErrTimeout, "a.b") {
		t.Error("something else is taken for a refusal")
	}
}
