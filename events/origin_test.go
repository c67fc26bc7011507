package events_test

import (
	"fmt"
	"testing"

	"github.com/finx-connector/finx-connector/events"
)

// OriginOf finds what Parse finds, wherever it stands, and in what is no event too.
func TestOriginOf(t *testing.T) {
	const (
		trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
		other = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
	)
	structured := func(more string) []byte {
		return fmt.Appendf(nil, `{"specversion":"1.0","id":"e-1","source":"/u","type":%q,"time":"2026-11-23T00:00:00Z"%s,"data":{"connection_id":"x"}}`, events.TypeSyncRequested, more)
	}
	attribute := func(name, value string) string { return fmt.Sprintf(`,%q:%q`, name, value) }
	bare := []byte(`{"connection_id":"x"}`)
	h := func(pairs ...string) map[string][]string {
		out := map[string][]string{}
		for i := 0; i < len(pairs); i += 2 {
			out[pairs[i]] = []string{pairs[i+1]}
		}
		return out
	}
	binary := func(pairs ...string) map[string][]string {
		return h(append([]string{"ce-specversion", "1.0", "ce-id", "e-1", "ce-source", "/u", "ce-type", events.TypeSyncRequested, "ce-time", "2026-11-23T00:00:00Z"}, pairs...)...)
	}
	for name, tt := range map[string]struct {
		header map[string][]string
		data   []byte
		want   events.Origin
	}{
		"nothing":                     {nil, bare, events.Origin{}},
		"header":                      {h("Traceparent", trace, "tracestate", "a=1"), bare, events.Origin{TraceParent: trace, TraceState: "a=1"}},
		"state that is not":           {h("traceparent", trace, "tracestate", "a\n"), bare, events.Origin{TraceParent: trace}},
		"attribute":                   {nil, structured(attribute("traceparent", trace) + attribute("tracestate", "a=1")), events.Origin{TraceParent: trace, TraceState: "a=1"}},
		"the last hop's wins":         {h("traceparent", other), structured(attribute("traceparent", trace)), events.Origin{TraceParent: other}},
		"binary mode":                 {binary("ce-traceparent", trace), bare, events.Origin{TraceParent: trace}},
		"not well-formed":             {h("traceparent", "00-x"), bare, events.Origin{}},
		"replayed by header":          {h("ce-replayid", "r-1", "traceparent", trace), bare, events.Origin{TraceParent: trace, Replayed: true}},
		"replayed by attribute":       {h("traceparent", trace), structured(attribute("replayid", "r-1")), events.Origin{TraceParent: trace, Replayed: true}},
		"replayed, trace in the body": {h("ce-replayid", "r-1"), structured(attribute("traceparent", trace)), events.Origin{TraceParent: trace, Replayed: true}},
		"replayed by its message id":  {h(events.HeaderMsgID, "replay:r-1:FINX_REQUESTS:7"), structured(attribute("traceparent", trace)), events.Origin{TraceParent: trace, Replayed: true}},
		"redriven":                    {h(events.HeaderMsgID, "redrive:7:run"), bare, events.Origin{Replayed: true}},
		"no event at all":             {h("traceparent", trace), []byte(`{"replayid":`), events.Origin{TraceParent: trace}},
	} {
		t.Run(name, func(t *testing.T) {
			m := events.Message{Subject: events.TypeSyncRequested, Header: tt.header, Data: tt.data}
			got := events.Codec{}.OriginOf(m)
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if e, err := (events.Codec{}).Parse(m); err == nil && (e.TraceParent != got.TraceParent || e.TraceState != got.TraceState) {
				t.Errorf("Parse says %q %q", e.TraceParent, e.TraceState)
			}
		})
	}
	m := events.Message{Header: h("traceparent", trace)}
	if m.TraceID() != trace[3:35] || (events.Message{}).TraceID() != "" {
		t.Errorf("trace id %q", m.TraceID())
	}
}
