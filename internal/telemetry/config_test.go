package telemetry_test

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"github.com/finx-connector/finx-connector/internal/telemetry"
	"github.com/finx-connector/finx-connector/internal/telemetry/telemetrytest"
)

func TestWhetherTracesAreMade(t *testing.T) {
	const somewhere = "http://127.0.0.1:4318"
	missing := filepath.Join(t.TempDir(), "missing.pem")
	for name, tt := range map[string]struct {
		endpoint, traces string
		env              map[string]string
		on               bool
		wrong            string // the variable that the error names
	}{
		"by default":            {},
		"endpoint":              {endpoint: somewhere, on: true},
		"endpoint of traces":    {traces: somewhere + "/traces", on: true},
		"disabled":              {endpoint: somewhere, env: map[string]string{"OTEL_SDK_DISABLED": "TRUE"}},
		"no exporter":           {endpoint: somewhere, env: map[string]string{"OTEL_TRACES_EXPORTER": "none"}},
		"otlp exporter":         {endpoint: somewhere, env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, on: true},
		"another exporter":      {endpoint: somewhere, env: map[string]string{"OTEL_TRACES_EXPORTER": "console"}, wrong: "OTEL_TRACES_EXPORTER"},
		"grpc":                  {endpoint: somewhere, env: map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, on: true},
		"http":                  {endpoint: somewhere, env: map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, on: true},
		"another protocol":      {endpoint: somewhere, env: map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "smoke"}, wrong: "OTEL_EXPORTER_OTLP_PROTOCOL"},
		"of traces":             {endpoint: somewhere, env: map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "smoke"}, wrong: "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"},
		"no URL":                {endpoint: "127.0.0.1:4318", wrong: "OTEL_EXPORTER_OTLP_ENDPOINT"},
		"no URL of traces":      {traces: "ftp://x", wrong: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"},
		"sampler":               {endpoint: somewhere, env: map[string]string{"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}, on: true},
		"another sampler":       {endpoint: somewhere, env: map[string]string{"OTEL_TRACES_SAMPLER": "jaeger_remote"}, wrong: "OTEL_TRACES_SAMPLER"},
		"half a sampler":        {endpoint: somewhere, env: map[string]string{"OTEL_TRACES_SAMPLER": "parentbased_"}, wrong: "OTEL_TRACES_SAMPLER"},
		"more than all":         {endpoint: somewhere, env: map[string]string{"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "10"}, wrong: "OTEL_TRACES_SAMPLER_ARG"},
		"not a number":          {endpoint: somewhere, env: map[string]string{"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "NaN"}, wrong: "OTEL_TRACES_SAMPLER_ARG"},
		"no queue":              {endpoint: somewhere, env: map[string]string{"OTEL_BSP_MAX_QUEUE_SIZE": "0"}, wrong: "OTEL_BSP_MAX_QUEUE_SIZE"},
		"a file that is not":    {endpoint: somewhere, env: map[string]string{"OTEL_EXPORTER_OTLP_CERTIFICATE": missing}, wrong: "OTEL_EXPORTER_OTLP_CERTIFICATE"},
		"one of traces that is": {endpoint: somewhere, env: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY": missing}, wrong: "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY"},
	} {
		t.Run(name, func(t *testing.T) {
			c := config(tt.endpoint, tt.env)
			c.TracesEndpoint = tt.traces
			tracer, err := telemetry.New(t.Context(), c)
			if (tracer != nil) != tt.on {
				t.Errorf("on: %t, want %t (%v)", tracer != nil, tt.on, err)
			}
			stop(t, tracer)
			switch {
			case tt.wrong == "" && err != nil:
				t.Error(err)
			case tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong+":")):
				t.Errorf("the error is %v, want one that names %s", err, tt.wrong)
			}
		})
	}
}

// Which of the traces that begin here are recorded, and of those that do not.
func TestSamplers(t *testing.T) {
	for name, want := range map[string][3]bool{ // root, below a recorded one, below one that is not
		"":                         {true, true, false},
		"always_on":                {true, true, true},
		"always_off":               {false, false, false},
		"parentbased_always_on":    {true, true, false},
		"parentbased_always_off":   {false, true, false},
		"PARENTBASED_TRACEIDRATIO": {false, true, false},
		"traceidratio":             {false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			to := telemetrytest.Start(t)
			tracer := newTracer(t, config(to.URL, map[string]string{"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": "0"}))
			for i, from := range []string{"", upstream, unsampled} {
				_, s := tracer.Begin(t.Context(), "process x", telemetry.Origin{Upstream: telemetry.Remote{TraceParent: from}})
				if s.Recorded() != want[i] {
					t.Errorf("below %q: recorded %t, want %t", from, s.Recorded(), want[i])
				}
				s.End(nil)
			}
		})
	}
}

// collector is the other end of OTLP over gRPC.
type collector struct {
	coltracepb.UnimplementedTraceServiceServer
	keep *telemetrytest.Receiver
}

func (c collector) Export(_ context.Context, r *coltracepb.ExportTraceServiceRequest) (*coltracepb.ExportTraceServiceResponse, error) {
	c.keep.Keep(r, nil)
	return &coltracepb.ExportTraceServiceResponse{}, nil
}

func TestOverGRPC(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to, s := &telemetrytest.Receiver{}, grpc.NewServer()
	coltracepb.RegisterTraceServiceServer(s, collector{keep: to})
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	defer func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	tracer := newTracer(t, config("http://"+ln.Addr().String(), map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}))
	spans(t.Context(), tracer, 3)
	stop(t, tracer)
	if n := len(to.Spans()); n != 3 {
		t.Errorf("%d spans arrived, want 3", n)
	}
}
