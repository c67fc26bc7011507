package connectionkv

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/internal/fault"
)

func api(status int, code jetstream.ErrorCode) error {
	return fmt.Errorf("nats: %w", &jetstream.APIError{Code: status, ErrorCode: code, Description: "x"})
}

func TestVerdictOnEveryAnswer(t *testing.T) {
	const (
		nobody = fault.Dependency("")
		broker = fault.NATS
	)
	type want struct {
		verdict   fault.Verdict
		class     fault.Class
		blame     fault.Dependency
		ambiguous bool
		conflict  bool
	}
	refused := want{verdict: fault.Retry, class: fault.Exhausted, blame: broker}
	unknown := want{verdict: fault.Retry, class: fault.Exhausted, blame: broker, ambiguous: true}
	conflicts := want{verdict: fault.Retry, class: fault.Exhausted, blame: nobody, conflict: true}
	oversize := want{verdict: fault.GiveUp, class: fault.Oversize, blame: nobody}
	for name, tt := range map[string]struct {
		err  error
		want want
	}{
		"wrong last sequence":           {api(400, 10071), conflicts},
		"wrong last sequence, constant": {api(400, 10164), conflicts},
		"message exceeds maximum":       {api(400, 10054), oversize},
		"max payload":                   {nats.ErrMaxPayload, oversize},
		"no leader":                     {api(503, 10009), refused},
		"jetstream unavailable":         {api(503, 10008), refused},
		"insufficient resources":        {api(503, 10023), refused},
		"store full":                    {api(503, 10077), refused},
		"too many requests":             {api(429, 10167), refused},
		"stream not found":              {api(404, 10059), refused},
		"ttl not allowed":               {api(400, 10166), refused},
		"ttl invalid":                   {api(400, 10165), refused},
		"stream sealed":                 {api(400, 10109), refused},
		"in process duplicate":          {api(409, 10158), refused},
		"no stream response":            {jetstream.ErrNoStreamResponse, refused},
		"no responders":                 {nats.ErrNoResponders, refused},
		"reconnecting":                  {nats.ErrReconnectBufExceeded, refused},
		"draining":                      {nats.ErrConnectionDraining, refused},
		"timeout":                       {nats.ErrTimeout, unknown},
		"deadline":                      {context.DeadlineExceeded, unknown},
		"cancelled":                     {context.Canceled, unknown},
		"disconnected":                  {nats.ErrDisconnected, unknown},
		"closed":                        {nats.ErrConnectionClosed, unknown},
		"not an answer":                 {jetstream.ErrInvalidJSAck, unknown},
		"never heard of":                {errors.New("x"), unknown},
	} {
		t.Run(name, func(t *testing.T) {
			err := fmt.Errorf("a: %w", fmt.Errorf("b: %w", judgeWrite(tt.err)))
			got := want{fault.Of(err), fault.ClassOf(err), fault.DependencyOf(err), fault.IsAmbiguous(err), errors.Is(err, connection.ErrConflict)}
			if got != tt.want {
				t.Errorf("write: got %+v, want %+v", got, tt.want)
			}
			read := fmt.Errorf("a: %w", judgeRead(tt.err))
			if fault.Of(read) != fault.Retry || fault.DependencyOf(read) != broker || fault.IsAmbiguous(read) || !errors.Is(read, tt.err) {
				t.Errorf("read: got %v of %q", fault.Of(read), fault.DependencyOf(read))
			}
		})
	}
}

func TestMetricsCountByOutcome(t *testing.T) {
	var none *Metrics
	none.observe(opGet, nil) // must not panic
	none.setReplicas(1)
	m := NewMetrics(prometheus.NewRegistry())
	for outcome, err := range map[string]error{
		outcomeOK:       nil,
		outcomeConflict: fmt.Errorf("x: %w", conflict()),
		outcomeAnswer:   fmt.Errorf("x: %w", ErrNotFound),
		outcomeError:    fmt.Errorf("x: %w", judgeRead(nats.ErrTimeout)),
	} {
		m.observe(opGet, err)
		if got := testutil.ToFloat64(m.operations.WithLabelValues(opGet, outcome)); got != 1 {
			t.Errorf("%v: %s counted %v times", err, outcome, got)
		}
	}
	m.observe(opRenew, lost())
	m.observe(opRenew, fault.Permanent(fault.Rejected, ErrStateConsumed))
	m.observe(opRenew, errors.New("decoding: x"))
	if got := testutil.ToFloat64(m.operations.WithLabelValues(opRenew, outcomeAnswer)); got != 2 {
		t.Errorf("answers counted %v times, want 2", got)
	}
	if got := testutil.CollectAndCount(m.operations); got != 23*4 {
		t.Errorf("%d label pairs, want all 92 made beforehand", got)
	}
}
