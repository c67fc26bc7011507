package telemetry_test

import (
	"context"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/telemetry"
	"github.com/finx-connector/finx-connector/internal/telemetry/telemetrytest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

const (
	upstreamTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	upstreamSpan  = "00f067aa0ba902b7"
	upstream      = "00-" + upstreamTrace + "-" + upstreamSpan + "-01"
	unsampled     = "00-" + upstreamTrace + "-" + upstreamSpan + "-00"
)

// config is one that sends to that endpoint, in an environment of its own.
func config(endpoint string, env map[string]string) telemetry.Config {
	return telemetry.Config{
		Endpoint: endpoint, Getenv: func(name string) string { return env[name] },
		Service: "finx-connector", Version: "v1.2.3", Instance: "host-1", Logger: slog.New(slog.DiscardHandler),
	}
}

func newTracer(t testing.TB, c telemetry.Config) *telemetry.Tracer {
	t.Helper()
	tracer, err := telemetry.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if tracer == nil {
		t.Fatal("tracing is off")
	}
	t.Cleanup(func() { stop(t, tracer) })
	return tracer
}

// stop sends what is left; a second time it does nothing.
func stop(t testing.TB, tracer *telemetry.Tracer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
	defer cancel()
	if err := tracer.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func named(t testing.TB, all []telemetrytest.Span, name string) telemetrytest.Span {
	t.Helper()
	for _, s := range all {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no span %q among %d", name, len(all))
	return telemetrytest.Span{}
}

func TestADeliveryGoesOnWithUpstreamsTrace(t *testing.T) {
	to := telemetrytest.Start(t)
	tracer := newTracer(t, config(to.URL, nil))
	ctx, delivery := tracer.Begin(t.Context(), "process x", telemetry.Origin{Upstream: telemetry.Remote{TraceParent: upstream, TraceState: "a=1,b=2"}})
	carried := telemetry.Carry(ctx, telemetry.Remote{})
	inner, call := telemetry.Start(ctx, telemetry.Client, "call")
	call.Text(telemetry.KeyMethod, "GET")
	call.Int(telemetry.KeyStatus, 503)
	call.Event("repeated", errors.New("once"))
	telemetry.SpanOf(inner).Flag(telemetry.KeyDuplicate, true)
	call.End(fault.Throttled(fault.FinX, time.Now(), errors.New("not\nnow")))
	_, send := telemetry.Start(ctx, telemetry.Producer, "send")
	send.End(nil)
	delivery.End(nil)
	stop(t, tracer)

	all := to.Spans()
	root, child := named(t, all, "process x"), named(t, all, "call")
	if root.TraceID != upstreamTrace || root.ParentID != upstreamSpan || root.Kind != "SPAN_KIND_CONSUMER" || root.TraceState != "a=1,b=2" || len(root.Links) != 0 || root.Failed {
		t.Errorf("the delivery: %+v", root)
	}
	if want := "00-" + upstreamTrace + "-" + root.ID + "-01"; carried.TraceParent != want || carried.TraceState != "a=1,b=2" {
		t.Errorf("carried %+v, want %s", carried, want)
	}
	if child.TraceID != upstreamTrace || child.ParentID != root.ID || child.Kind != "SPAN_KIND_CLIENT" {
		t.Errorf("the call: %+v", child)
	}
	for key, want := range map[string]string{telemetry.KeyMethod: "GET", telemetry.KeyStatus: "503", telemetry.KeyErrorType: "wait_until.finx", telemetry.KeyDuplicate: "true"} {
		if child.Attributes[key] != want {
			t.Errorf("the call's %s is %q, want %q", key, child.Attributes[key], want)
		}
	}
	if !child.Failed || child.Description != "not now" || len(child.Events) != 1 || child.Events[0] != "repeated" {
		t.Errorf("the call ended as %+v", child)
	}
	if s := named(t, all, "send"); s.Kind != "SPAN_KIND_PRODUCER" || s.ParentID != root.ID || s.Failed {
		t.Errorf("the publish: %+v", s)
	}
	for key, want := range map[string]string{"service.name": "finx-connector", "service.version": "v1.2.3", "service.instance.id": "host-1"} {
		if root.Resource[key] != want {
			t.Errorf("the resource's %s is %q, want %q", key, root.Resource[key], want)
		}
	}
}

// The four ways in which a delivery is related to what was before it.
func TestOrigin(t *testing.T) {
	from := telemetry.Remote{TraceParent: upstream}
	const before = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	toUpstream := telemetrytest.Link{TraceID: upstreamTrace, ID: upstreamSpan}
	toBefore := telemetrytest.Link{TraceID: before[3:35], ID: before[36:52]}
	for name, tt := range map[string]struct {
		origin telemetry.Origin
		below  bool // upstream's span
		links  []telemetrytest.Link
	}{
		"first":                  {telemetry.Origin{Upstream: from}, true, nil},
		"nobody upstream":        {telemetry.Origin{}, false, nil},
		"again":                  {telemetry.Origin{Upstream: from, Again: true}, true, []telemetrytest.Link{toUpstream}},
		"again, after that one":  {telemetry.Origin{Upstream: from, Again: true, Earlier: telemetry.Remote{TraceParent: before}}, true, []telemetrytest.Link{toUpstream, toBefore}},
		"again, nobody upstream": {telemetry.Origin{Again: true, Earlier: telemetry.Remote{TraceParent: before}}, false, []telemetrytest.Link{toBefore}},
		"apart":                  {telemetry.Origin{Upstream: from, Apart: true}, false, []telemetrytest.Link{toUpstream}},
		"not well-formed":        {telemetry.Origin{Upstream: telemetry.Remote{TraceParent: "00-" + upstreamTrace + "-xx-01"}, Again: true}, false, nil},
		"a later version":        {telemetry.Origin{Upstream: telemetry.Remote{TraceParent: "cc" + upstream[2:] + "-what-the-future-holds"}}, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			to := telemetrytest.Start(t)
			tracer := newTracer(t, config(to.URL, nil))
			_, s := tracer.Begin(t.Context(), "process x", tt.origin)
			s.End(nil)
			stop(t, tracer)
			got := named(t, to.Spans(), "process x")
			if below := got.TraceID == upstreamTrace && got.ParentID == upstreamSpan; below != tt.below || !below && (got.ParentID != "" || got.TraceID == upstreamTrace) {
				t.Errorf("trace %s, parent %q; below upstream's span: want %t", got.TraceID, got.ParentID, tt.below)
			}
			if len(got.Links) != len(tt.links) {
				t.Fatalf("links %v, want %v", got.Links, tt.links)
			}
			for i := range tt.links {
				if got.Links[i] != tt.links[i] {
					t.Errorf("link %d is %v, want %v", i, got.Links[i], tt.links[i])
				}
			}
		})
	}
}

// What upstream does not record is not recorded here, and its trace is carried on.
func TestUpstreamsDecisionStands(t *testing.T) {
	to := telemetrytest.Start(t)
	tracer := newTracer(t, config(to.URL, nil))
	ctx, s := tracer.Begin(t.Context(), "process x", telemetry.Origin{Upstream: telemetry.Remote{TraceParent: unsampled, TraceState: "a=1"}})
	if _, inner := telemetry.Start(ctx, telemetry.Client, "call"); inner.Recorded() || s.Recorded() {
		t.Error("recorded")
	}
	got := telemetry.Carry(ctx, telemetry.Remote{})
	if !strings.HasPrefix(got.TraceParent, "00-"+upstreamTrace+"-") || !strings.HasSuffix(got.TraceParent, "-00") || got.TraceState != "a=1" {
		t.Errorf("carried %+v", got)
	}
	s.End(nil)
	stop(t, tracer)
	if n := len(to.Spans()); n != 0 {
		t.Errorf("%d spans exported", n)
	}
}

func TestOffMakesNothing(t *testing.T) {
	var off *telemetry.Tracer
	ctx, s := off.Begin(t.Context(), "process x", telemetry.Origin{Upstream: telemetry.Remote{TraceParent: upstream}})
	inner, child := telemetry.Start(ctx, telemetry.Client, "call")
	if ctx != t.Context() || inner != ctx || s.Recorded() || child.Recorded() {
		t.Error("something was made")
	}
	asIs := telemetry.Remote{TraceParent: upstream, TraceState: "a=1"}
	if got := telemetry.Carry(ctx, asIs); got != asIs {
		t.Errorf("carried %+v", got)
	}
	child.Text("a", "b")
	child.End(errors.New("x"))
	telemetry.Waiting(ctx, "wait")(nil)
	telemetry.Record(ctx, telemetry.Client, "call", time.Now(), nil)
	stop(t, off)
}

// Ten thousand pages must not become ten thousand spans, and what fails is seen
// however late it comes.
func TestSpansOfOneDeliveryAreBounded(t *testing.T) {
	to := telemetrytest.Start(t)
	tracer := newTracer(t, config(to.URL, map[string]string{"OTEL_BSP_MAX_QUEUE_SIZE": "100000"}))
	ctx, delivery := tracer.Begin(t.Context(), "process x", telemetry.Origin{})
	for i := range 10_000 {
		_, page := telemetry.Start(ctx, telemetry.Client, "page")
		telemetry.Record(ctx, telemetry.Client, "vault", time.Now(), nil)
		var err error
		if i >= 5_000 {
			err = errors.New("broken")
		}
		page.End(err)
	}
	_, last := telemetry.Start(ctx, telemetry.Producer, "completed")
	last.End(nil)
	delivery.End(nil)
	stop(t, tracer)
	count, failed := map[string]int{}, 0
	for _, s := range to.Spans() {
		count[s.Name]++
		if s.Failed {
			failed++
		}
	}
	if count["page"] != 100 || failed != 50 || count["vault"] != 50 || count["completed"] != 1 {
		t.Errorf("spans %v, %d failed", count, failed)
	}
	if got := named(t, to.Spans(), "process x").Attributes[telemetry.KeyStepsLeftOut]; got != "19850" {
		t.Errorf("%s steps left out, want 19850", got)
	}
}

func TestOnlyAWaitThatIsNoticedIsASpan(t *testing.T) {
	to := telemetrytest.Start(t)
	tracer := newTracer(t, config(to.URL, nil))
	ctx, delivery := tracer.Begin(t.Context(), "process x", telemetry.Origin{})
	telemetry.Waiting(ctx, "short")(nil)
	over := telemetry.Waiting(ctx, "long")
	timer := time.NewTimer(10 * time.Millisecond)
	<-timer.C
	over(nil)
	delivery.End(nil)
	stop(t, tracer)
	if n := len(to.Spans()); n != 2 {
		t.Errorf("%d spans, want the delivery and the long wait", n)
	}
	if s := named(t, to.Spans(), "long"); s.Ended.Sub(s.Begun) < 10*time.Millisecond {
		t.Errorf("the wait took %s", s.Ended.Sub(s.Begun))
	}
}

func TestLinesHaveTheirTrace(t *testing.T) {
	to := telemetrytest.Start(t)
	tracer := newTracer(t, config(to.URL, nil))
	var out strings.Builder
	log := slog.New(telemetry.Handler(slog.NewTextHandler(&out, nil))).With("a", 1)
	log.InfoContext(t.Context(), "without")
	ctx, s := tracer.Begin(t.Context(), "process x", telemetry.Origin{Upstream: telemetry.Remote{TraceParent: upstream}})
	log.InfoContext(ctx, "with")
	s.End(nil)
	lines := strings.Split(out.String(), "\n")
	if strings.Contains(lines[0], "trace_id") || !strings.Contains(lines[1], "trace_id="+upstreamTrace) {
		t.Errorf("the log says:\n%s", out.String())
	}
}

func TestMetricsAreThereFromTheStart(t *testing.T) {
	reg := prometheus.NewRegistry()
	telemetry.NewMetrics(reg)
	families, err := reg.Gather()
	if err != nil || len(families) != 2 || len(families[0].GetMetric()) != 2 {
		t.Errorf("%v, %v", families, err)
	}
}

func TestHeadersAndCompressionAreOpenTelemetrysOwn(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue")
	t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
	t.Setenv("OTEL_SERVICE_NAME", "other")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
	to := telemetrytest.Start(t)
	c := config(to.URL, nil)
	c.Getenv = nil
	tracer := newTracer(t, c)
	_, s := tracer.Begin(t.Context(), "process x", telemetry.Origin{})
	s.End(nil)
	stop(t, tracer)
	about := named(t, to.Spans(), "process x").Resource
	if about["service.name"] != "other" || about["deployment.environment.name"] != "test" {
		t.Errorf("resource %v", about)
	}
	var h http.Header
	if all := to.Headers(); len(all) > 0 {
		h = all[0]
	}
	if h.Get("X-Tenant") != "blue" || h.Get("Content-Encoding") != "gzip" {
		t.Errorf("headers %v", h)
	}
}

// A collector behind a certificate of one's own, spoken to in JSON.
func TestCertificateAndJSON(t *testing.T) {
	kind := make(chan string, 10)
	s := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		kind <- req.URL.Path + " " + req.Header.Get("Content-Type")
	}))
	t.Cleanup(s.Close)
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", path)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
	c := config("", nil)
	c.Getenv, c.TracesEndpoint = nil, s.URL+"/here"
	tracer := newTracer(t, c)
	_, span := tracer.Begin(t.Context(), "process x", telemetry.Origin{})
	span.End(nil)
	stop(t, tracer)
	select {
	case got := <-kind:
		if got != "/here application/json" {
			t.Errorf("the request went as %s", got)
		}
	default:
		t.Error("nothing arrived")
	}
}
