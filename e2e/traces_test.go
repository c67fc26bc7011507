package e2e_test

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/telemetry/telemetrytest"
)

// upstreamTrace is a trace of upstream's with the span that published.
type upstreamTrace struct{ trace, span string }

func (u upstreamTrace) parent() string { return "00-" + u.trace + "-" + u.span + "-01" }

func (u upstreamTrace) link() telemetrytest.Link {
	return telemetrytest.Link{TraceID: u.trace, ID: u.span}
}

var (
	connectTrace  = upstreamTrace{"0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"}
	callbackTrace = upstreamTrace{"4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"}
)

// traced returns a rig whose traces arrive at the receiver.
func traced(t *testing.T, o options) (*rig, *telemetrytest.Receiver) {
	t.Helper()
	to := telemetrytest.Start(t)
	r := newRig(t, o)
	r.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = to.URL
	return r, to
}

// exported are the spans of one trace, or of all of them.
type exported struct {
	t   *testing.T
	all []telemetrytest.Span
}

func (e exported) in(trace string) exported {
	return exported{e.t, slices.DeleteFunc(slices.Clone(e.all), func(s telemetrytest.Span) bool { return s.TraceID != trace })}
}

func (e exported) under(id string) exported {
	return exported{e.t, slices.DeleteFunc(slices.Clone(e.all), func(s telemetrytest.Span) bool { return s.ParentID != id })}
}

func (e exported) named(name string) []telemetrytest.Span {
	return slices.DeleteFunc(slices.Clone(e.all), func(s telemetrytest.Span) bool { return s.Name != name })
}

// one returns the only span of that name.
func (e exported) one(name string) telemetrytest.Span {
	e.t.Helper()
	found := e.named(name)
	if len(found) != 1 {
		e.t.Fatalf("%d spans %q, want 1, among:\n%s", len(found), name, e)
	}
	return found[0]
}

func (e exported) String() string {
	var b strings.Builder
	for _, s := range e.all {
		b.WriteString(s.TraceID[:6] + " " + s.ParentID + " → " + s.ID + " " + s.Name + " " + s.Attributes["finx_connector.outcome"] + "\n")
	}
	return b.String()
}

func (e exported) attribute(s telemetrytest.Span, key, want string) {
	e.t.Helper()
	if got := s.Attributes[key]; got != want {
		e.t.Errorf("%s: %s is %q, want %q", s.Name, key, got, want)
	}
}

// One connection, from upstream's two traces through finX, Vault and every event.
func TestTracesFromUpstreamToEvents(t *testing.T) {
	r, to := traced(t, options{sandbox: finxtest.Options{Shape: finxtest.Shape{Accounts: 2, Transactions: 30}}})
	stop := r.start()
	id := events.NewUUID()
	r.publish(events.TypeConnectRequested, encode(t, map[string]any{"user_id": "traced@example.com", "redirect_uri": redirectURI}),
		events.HeaderMsgID, id, "traceparent", connectTrace.parent(), "tracestate", "vendor=1")
	link := r.link(id)
	back := r.approve(link.Location)
	body := r.structured(events.TypeCallbackReceived, events.NewUUID(), map[string]any{"callback_url": back.String()})
	body = []byte(strings.Replace(string(body), `"specversion"`, `"traceparent":"`+callbackTrace.parent()+`","specversion"`, 1))
	r.publish(events.TypeCallbackReceived, body, events.HeaderContentType, events.ContentTypeStructured)
	completed := r.completed(link.ConnectionID, 1)
	stop()
	all := exported{t, to.Spans()}

	t.Run("connect", func(t *testing.T) {
		e := exported{t, all.all}.in(connectTrace.trace)
		process := e.one("process " + events.TypeConnectRequested)
		if process.ParentID != connectTrace.span || process.Kind != "SPAN_KIND_CONSUMER" || process.Failed || len(process.Links) != 0 || process.TraceState != "vendor=1" {
			t.Errorf("the delivery: %+v", process)
		}
		for key, want := range map[string]string{
			"messaging.system": "nats", "messaging.operation.type": "process", "messaging.destination.name": events.TypeConnectRequested,
			"messaging.nats.stream": events.StreamRequests, "messaging.consumer.group.name": "finx-connects",
			"finx_connector.attempt": "1", "finx_connector.outcome": "done", "finx_connector.connection_id": link.ConnectionID,
		} {
			e.attribute(process, key, want)
		}
		call := e.under(process.ID).one("finx.create_access")
		for key, want := range map[string]string{"http.request.method": "POST", "http.response.status_code": "201", "url.template": "/ongoing/access", "server.address": "127.0.0.1"} {
			e.attribute(call, key, want)
		}
		send := e.under(process.ID).one("send " + events.TypeWidgetLinkCreated)
		e.attribute(send, "messaging.message.id", link.ID)
		want := "00-" + connectTrace.trace + "-" + process.ID + "-01"
		if got := header(link.Message, "traceparent"); link.TraceParent != want || got != want || link.TraceState != "vendor=1" {
			t.Errorf("the event carries %q, its header %q, want %q", link.TraceParent, got, want)
		}
	})
	t.Run("callback and fetch", func(t *testing.T) {
		e := exported{t, all.all}.in(callbackTrace.trace)
		process := e.one("process " + events.TypeCallbackReceived)
		if process.ParentID != callbackTrace.span {
			t.Errorf("the callback is below %q", process.ParentID)
		}
		exchange := e.under(process.ID).one("custody.exchange")
		if n := len(e.under(exchange.ID).named("vault.put")); n != 2 {
			t.Errorf("%d writes to Vault below the exchange, want the mark and the tokens", n)
		}
		e.attribute(e.under(exchange.ID).one("finx.exchange_code"), "http.response.status_code", "200")
		e.under(process.ID).one("send " + events.TypeConnectionEstablished)
		e.under(process.ID).one("send " + events.TypeSyncRequested)
		sync := e.one("process " + events.TypeSyncRequested)
		if sync.ParentID != process.ID {
			t.Errorf("the fetch is below %s, want the callback's %s", sync.ParentID, process.ID)
		}
		e.attribute(sync, "finx_connector.connection_id", link.ConnectionID)
		e.attribute(sync, "finx_connector.fetch_id", completed.FetchID)
		e.under(sync.ID).one("finx.accounts")
		e.under(sync.ID).one("send " + events.TypeFetchCompleted)
		pages := e.under(sync.ID).named("finx.transactions")
		if len(pages) != 2 || len(e.under(sync.ID).named("send "+events.TypeTransactionsFetched)) != 2 {
			t.Errorf("the pages and parts below the fetch:\n%s", e.under(sync.ID))
		}
		for _, p := range pages {
			e.attribute(p, "url.template", "/rest/accounts/{account_id}/transactions")
		}
		want := "00-" + callbackTrace.trace + "-" + sync.ID + "-01"
		for _, event := range append(r.parts(completed), completed) {
			if event.TraceParent != want {
				t.Errorf("%s carries %q, want %q", event.Type, event.TraceParent, want)
			}
		}
	})
}

// What is tried again stays in upstream's trace and is linked to what was before, also
// when another process does it; what somebody replays has a trace of its own.
func TestTracesOfWhatIsHandledAgain(t *testing.T) {
	r, to := traced(t, options{memory: true, env: map[string]string{"FINX_RETRY_BUDGET": "0s", "RETRY_DELAY_MAX": "100ms"}})
	var left atomic.Int32
	left.Store(1)
	r.bank.answer(func(p passing) (int, string) {
		if p.is(http.MethodPost, "/ongoing/access") && left.Add(-1) >= 0 {
			return http.StatusInternalServerError, `{"error":{"code":30000}}`
		}
		return 0, ""
	})
	stop := r.start()
	id := events.NewUUID()
	connect := encode(t, map[string]any{"user_id": "again@example.com", "redirect_uri": redirectURI})
	r.publish(events.TypeConnectRequested, connect, events.HeaderMsgID, id, "traceparent", connectTrace.parent())
	link := r.link(id)
	r.idle(events.StreamRequests, "finx-connects")

	r.publish(events.TypeConnectRequested, r.structured(events.TypeConnectRequested, id, map[string]any{"user_id": "again@example.com", "redirect_uri": redirectURI}),
		events.HeaderMsgID, "replay:r-1:"+events.StreamRequests+":1", "ce-replayid", "r-1", "traceparent", connectTrace.parent())
	r.idle(events.StreamRequests, "finx-connects")
	stop()

	e := exported{t, to.Spans()}
	tries := e.in(connectTrace.trace).named("process " + events.TypeConnectRequested)
	if len(tries) != 2 {
		t.Fatalf("%d attempts in upstream's trace, want 2:\n%s", len(tries), e)
	}
	first, second := tries[0], tries[1]
	if !first.Failed || first.Attributes["finx_connector.outcome"] != "retry" || !strings.Contains(first.Description, "status 500") {
		t.Errorf("the first attempt ended as %+v", first)
	}
	if want := []telemetrytest.Link{connectTrace.link(), {TraceID: first.TraceID, ID: first.ID}}; second.ParentID != connectTrace.span || !slices.Equal(second.Links, want) {
		t.Errorf("the second attempt is below %s with links %v, want %v", second.ParentID, second.Links, want)
	}
	e.attribute(second, "messaging.nats.delivered", "2")
	if want := "00-" + connectTrace.trace + "-" + second.ID + "-01"; link.TraceParent != want {
		t.Errorf("the event carries %q, want %q", link.TraceParent, want)
	}
	replayed := slices.DeleteFunc(e.named("process "+events.TypeConnectRequested), func(s telemetrytest.Span) bool { return s.TraceID == connectTrace.trace })
	if len(replayed) != 1 || replayed[0].ParentID != "" || !slices.Equal(replayed[0].Links, []telemetrytest.Link{connectTrace.link()}) || replayed[0].Attributes["finx_connector.replayed"] != "true" {
		t.Errorf("the replay: %+v", replayed)
	}
}

// The process that had the event is killed; whoever gets it next links to upstream.
func TestTracesThroughAKill(t *testing.T) {
	r, to := traced(t, options{memory: false})
	arrived := make(chan struct{}, 10)
	var killed atomic.Bool
	r.bank.on(func(p passing) bool {
		if p.is(http.MethodPost, "/ongoing/access") && !p.Answered && !killed.Load() {
			arrived <- struct{}{}
			return true
		}
		return false
	})
	p := r.serve()
	id := events.NewUUID()
	r.publish(events.TypeConnectRequested, encode(t, map[string]any{"user_id": "killed@example.com", "redirect_uri": redirectURI}),
		events.HeaderMsgID, id, "traceparent", connectTrace.parent())
	<-arrived
	p.kill()
	killed.Store(true)
	p = r.serve()
	r.link(id)
	if code, _ := p.term(within); code != 0 {
		t.Errorf("exit code %d", code)
	}
	e := exported{t, to.Spans()}.in(connectTrace.trace)
	done := slices.DeleteFunc(e.named("process "+events.TypeConnectRequested), func(s telemetrytest.Span) bool { return s.Attributes["finx_connector.outcome"] != "done" })
	if len(done) != 1 || done[0].ParentID != connectTrace.span || !slices.Contains(done[0].Links, connectTrace.link()) {
		t.Errorf("the redelivery: %+v", done)
	}
}

// A fetch that a timer asked for is hours away from the one that set the timer.
func TestTracesOfTimers(t *testing.T) {
	r, to := traced(t, options{memory: true, env: map[string]string{"SYNC_INTERVAL": "2s"}})
	stop := r.start()
	link, _ := r.establish("timed@example.com")
	scheduled := r.completed(link.ConnectionID, 2)
	stop()
	e := exported{t, to.Spans()}
	first := e.named("process " + events.TypeSyncRequested)[0]
	var due []telemetrytest.Span
	for _, s := range e.named("process " + events.TypeSyncRequested) {
		if s.Attributes["messaging.nats.stream"] == events.StreamTimers {
			due = append(due, s)
		}
	}
	if len(due) == 0 || due[0].ParentID != "" || due[0].TraceID == first.TraceID {
		t.Fatalf("no timer with a trace of its own:\n%s", e)
	}
	if want := []telemetrytest.Link{{TraceID: first.TraceID, ID: first.ID}}; !slices.Equal(due[0].Links, want) {
		t.Errorf("the timer's links are %v, want %v", due[0].Links, want)
	}
	if !strings.Contains(scheduled.TraceParent, due[0].TraceID) {
		t.Errorf("the scheduled fetch's event carries %q, want trace %s", scheduled.TraceParent, due[0].TraceID)
	}
}

// Where calls are limited, the trace shows that the time went by in the queue.
func TestTracesOfAWait(t *testing.T) {
	r, to := traced(t, options{memory: true, env: map[string]string{"FINX_RATE": "2"}})
	stop := r.start()
	var ids []string
	for range 4 {
		ids = append(ids, r.send(events.TypeConnectRequested, map[string]any{"user_id": events.NewUUID(), "redirect_uri": redirectURI}))
	}
	for _, id := range ids {
		r.link(id)
	}
	stop()
	waits := exported{t, to.Spans()}.named("wait for a turn at finX")
	if len(waits) == 0 || waits[len(waits)-1].Ended.Sub(waits[len(waits)-1].Begun) < 100*time.Millisecond {
		t.Errorf("the waits: %+v", waits)
	}
}

// While the endpoint of the traces hangs, nothing else does.
func TestTracesNobodyTakes(t *testing.T) {
	r, to := traced(t, options{memory: true, env: map[string]string{"DRAIN_TIMEOUT": "5s"}})
	release := make(chan struct{})
	defer close(release)
	to.Answer(func(_ http.ResponseWriter, req *http.Request) bool {
		select {
		case <-release:
		case <-req.Context().Done():
		}
		return true
	})
	addr, stop := r.startAt()
	begun := time.Now()
	r.establish("nobody@example.com")
	t.Logf("established and fetched in %s", time.Since(begun).Round(time.Millisecond))
	_, body, err := get(t, addr, "/metrics")
	if err != nil || !strings.Contains(body, `finx_connector_telemetry_spans_dropped_total{reason="queue_full"} 0`) {
		t.Errorf("the metrics do not count dropped spans (%v)", err)
	}
	begun = time.Now()
	stop()
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("stopping took %s", took)
	}
}

// While tracing is off, upstream's trace goes through as it came.
func TestTraceGoesThroughWhileTracingIsOff(t *testing.T) {
	r := newRig(t, options{memory: true})
	r.start()
	id := events.NewUUID()
	r.publish(events.TypeConnectRequested, encode(t, map[string]any{"user_id": "off@example.com", "redirect_uri": redirectURI}),
		events.HeaderMsgID, id, "traceparent", connectTrace.parent(), "tracestate", "vendor=1")
	if link := r.link(id); link.TraceParent != connectTrace.parent() || link.TraceState != "vendor=1" {
		t.Errorf("the event carries %q %q", link.TraceParent, link.TraceState)
	}
}
