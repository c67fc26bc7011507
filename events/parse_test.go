package events_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

const structuredType = events.ContentTypeStructured

// structured returns an erasure request in structured mode with some members
// replaced; an empty value removes the member.
func structured(replace map[string]string) string {
	members := []string{"specversion", "id", "source", "type", "time", "data"}
	values := map[string]string{
		"specversion": `"1.0"`, "id": `"e-1"`, "source": `"/up"`, "type": `"user.erasure.requested"`,
		"time": `"2026-11-22T16:30:01Z"`, "data": `{"user_id":"u"}`,
	}
	for name, value := range replace {
		if _, known := values[name]; !known {
			members = append(members, name)
		}
		values[name] = value
	}
	var list []string
	for _, name := range members {
		if values[name] != "" {
			list = append(list, `"`+name+`":`+values[name])
		}
	}
	return "{" + strings.Join(list, ",") + "}"
}

func header(pairs ...string) map[string][]string {
	h := map[string][]string{}
	for i := 0; i < len(pairs); i += 2 {
		h[pairs[i]] = []string{pairs[i+1]}
	}
	return h
}

func parse(data string, h map[string][]string) (events.Envelope, error) {
	return events.Codec{}.Parse(events.Message{
		Subject: events.TypeErasureRequested, Header: h, Data: []byte(data), Stream: "FINX_REQUESTS", Sequence: 7, Time: at,
	})
}

func TestParseTellsTheThreeModesApart(t *testing.T) {
	bare := `{"user_id":"u"}`
	ce := []string{"CE-SpecVersion", "1.0", "ce-ID", "e-2", "Ce-Source", "/up", "ce-type", "org.x.user.erasure.requested"}
	for name, tc := range map[string]struct {
		data       string
		header     map[string][]string
		id, source string
	}{
		"by content type":       {structured(nil), header("Content-Type", structuredType), "e-1", "/up"},
		"parameters and case":   {structured(nil), header("content-TYPE", "Application/CloudEvents+JSON; charset=UTF-8"), "e-1", "/up"},
		"by member":             {structured(nil), nil, "e-1", "/up"},
		"by member, plain JSON": {"\n " + structured(nil) + "\r\n", header("Content-Type", "application/json"), "e-1", "/up"},
		"prefixed type":         {structured(map[string]string{"type": `"com.acme.user.erasure.requested"`}), nil, "e-1", "/up"},
		"base64": {
			structured(map[string]string{"data": "", "data_base64": `"` + base64.StdEncoding.EncodeToString([]byte(bare)) + `"`}),
			nil, "e-1", "/up",
		},
		"binary":           {bare, header(ce...), "e-2", "/up"},
		"binary JSON type": {bare, header(append(ce, "Content-Type", "application/vnd.x+json; a=b")...), "e-2", "/up"},
		"bare with id":     {bare, header("nats-msg-id", "m-1"), "m-1", "/nats/FINX_REQUESTS"},
		"bare":             {bare, nil, events.UUIDv5("message", "FINX_REQUESTS", "7"), "/nats/FINX_REQUESTS"},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := parse(tc.data, tc.header)
			if err != nil {
				t.Fatal(err)
			}
			if e.ID != tc.id || e.Source != tc.source || e.Type != events.TypeErasureRequested {
				t.Errorf("envelope %+v", e)
			}
			if string(e.Data) != bare {
				t.Errorf("data %s", e.Data)
			}
			if _, err := events.DecodeErasureRequested(e); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestParseNamesWhatIsWrong(t *testing.T) {
	binary := func(drop string) map[string][]string {
		h := header("ce-specversion", "1.0", "ce-id", "e", "ce-source", "/up", "ce-type", "user.erasure.requested")
		delete(h, drop)
		return h
	}
	set := func(name, value string) string { return structured(map[string]string{name: value}) }
	for name, tc := range map[string]struct {
		data   string
		header map[string][]string
		want   string // "field: problem"
	}{
		"empty":                {"", nil, "data: empty, must be a JSON object"},
		"blanks":               {" \n", nil, "data: empty, must be a JSON object"},
		"not JSON":             {`{"user_id":"alice", oops}`, nil, "data: not JSON at byte 20"},
		"cut off":              {`{"user_id":"al`, nil, "user_id: not JSON: ends too early, at byte 14"},
		"an array":             {`[{"user_id":"u"}]`, nil, "data: must be an object, is an array"},
		"a broken array":       {`[1,`, nil, "data: not JSON: ends too early, at byte 3"},
		"a string":             {`"user_id"`, nil, "data: must be an object, is a string"},
		"something behind":     {`{"user_id":"u"} {}`, nil, "data: more data after the object, at byte 15"},
		"garbage behind":       {`{"user_id":"u"}x`, nil, "data: more data after the object, at byte 15"},
		"name twice":           {`{"user_id":"a","user_id":"b"}`, nil, "user_id: duplicate member name at byte 15"},
		"unknown name twice":   {`{"x":{"tkn":1,"tkn":2}}`, nil, "?/?: duplicate member name at byte 14"},
		"escaped name twice":   {`{"user_id":"a","user\u005fid":"b"}`, nil, "user_id: duplicate member name at byte 15"},
		"invalid UTF-8":        {"{\"user_id\":\"a\xff\"}", nil, "user_id: invalid UTF-8 at byte 13"},
		"lone surrogate":       {`{"user_id":"\ud800"}`, nil, "user_id: not JSON at byte 12"},
		"too deep":             {`{"x":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`, nil, "data: nested deeper than 64"},
		"no version":           {set("specversion", `""`), nil, "specversion: missing"},
		"old version":          {set("specversion", `"0.3"`), nil, `specversion: must be "1.0"`},
		"version as number":    {set("specversion", `1.0`), nil, "specversion: must be a string, is a number"},
		"no version, declared": {set("specversion", ""), header("Content-Type", structuredType), "specversion: missing"},
		"no id":                {set("id", ""), nil, "id: missing"},
		"id as number":         {set("id", "7"), nil, "id: must be a string, is a number"},
		"long id":              {set("id", `"`+strings.Repeat("i", 513)+`"`), nil, "id: 513 characters, at most 512"},
		"NUL in id":            {set("id", `"a\u0000"`), nil, "id: contains a control character"},
		"no source":            {set("source", ""), nil, "source: missing"},
		"no type":              {set("type", ""), nil, "type: missing"},
		"type of another":      {set("type", `"callback.received"`), nil, "type: must be user.erasure.requested on this subject"},
		"type by suffix trick": {set("type", `"superuser.erasure.requested"`), nil, "type: must be user.erasure.requested on this subject"},
		"bad time":             {set("time", `"yesterday"`), nil, "time: must be an RFC 3339 time"},
		"no data":              {set("data", ""), nil, "data: missing"},
		"null data":            {set("data", "null"), nil, "data: missing"},
		"data as string":       {set("data", `"{}"`), nil, "data: must be an object, is a string"},
		"field twice in data":  {set("data", `{"user_id":"a","user_id":"b"}`), nil, "user_id: duplicate member name at byte 131"},
		"both data":            {set("data_base64", `"e30="`), nil, "data_base64: given together with data"},
		"not base64":           {structured(map[string]string{"data": "", "data_base64": `"%%"`}), nil, "data_base64: is not base64"},
		"base64 as number":     {structured(map[string]string{"data": "", "data_base64": `1`}), nil, "data_base64: must be a string, is a number"},
		"base64 of no object":  {structured(map[string]string{"data": "", "data_base64": `"W10="`}), nil, "data_base64: must be an object, is an array"},
		"data of XML":          {set("datacontenttype", `"application/xml"`), nil, "datacontenttype: must be application/json"},
		"batch":                {"[]", header("Content-Type", "application/cloudevents-batch+json"), "Content-Type: must be application/cloudevents+json"},
		"avro":                 {"x", header("Content-Type", "application/cloudevents+avro"), "Content-Type: must be application/cloudevents+json"},
		"binary no version":    {`{}`, binary("ce-specversion"), "ce-specversion: missing"},
		"binary no id":         {`{}`, binary("ce-id"), "ce-id: missing"},
		"binary no source":     {`{}`, binary("ce-source"), "ce-source: missing"},
		"binary no type":       {`{}`, binary("ce-type"), "ce-type: missing"},
		"binary not JSON":      {`user_id=u`, binary(""), "data: not JSON at byte 0"},
		"long Nats-Msg-Id":     {`{}`, header("Nats-Msg-Id", strings.Repeat("i", 513)), "Nats-Msg-Id: 513 characters, at most 512"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(tc.data, tc.header)
			fe, ok := errors.AsType[*events.FieldError](err)
			if !ok || fe.Error() != tc.want {
				t.Fatalf("got %v, want %s", err, tc.want)
			}
			if fault.Of(err) != fault.GiveUp || fault.ClassOf(err) != fault.Malformed {
				t.Errorf("verdict %v class %v", fault.Of(err), fault.ClassOf(err))
			}
			if want := "events: reading user.erasure.requested: " + tc.want; err.Error() != want {
				t.Errorf("text %q, want %q", err, want)
			}
		})
	}
}

func TestParseBoundsTheSize(t *testing.T) {
	body := []byte(`{"user_id":"` + strings.Repeat("u", 100) + `"}`)
	m := events.Message{Subject: events.TypeErasureRequested, Data: body, Stream: "S", Sequence: 1}
	if _, err := (events.Codec{MaxInputBytes: len(body)}).Parse(m); err != nil {
		t.Error(err)
	}
	_, err := events.Codec{MaxInputBytes: len(body) - 1}.Parse(m)
	if fault.Of(err) != fault.GiveUp || fault.ClassOf(err) != fault.Oversize || !strings.Contains(err.Error(), "data: 114 bytes, at most 113") {
		t.Errorf("%v, class %s", err, fault.ClassOf(err))
	}
	m.Data = make([]byte, events.DefaultMaxInputBytes+1)
	if _, err := (events.Codec{}).Parse(m); fault.ClassOf(err) != fault.Oversize {
		t.Errorf("default limit: %v", err)
	}
}

func TestParseWithoutStreamNeedsAnID(t *testing.T) {
	_, err := events.Codec{}.Parse(events.Message{Subject: events.TypeErasureRequested, Data: []byte(`{"user_id":"u"}`)})
	wantField(t, err, "id")
	_, err = events.Codec{}.Parse(events.Message{Subject: "orders.created", Data: []byte(`{}`)})
	wantField(t, err, "subject")
}

func TestTimesAreReadGenerously(t *testing.T) {
	want := time.Date(2026, 11, 22, 16, 30, 1, 0, time.UTC)
	for _, s := range []string{
		"2026-11-22T16:30:01Z", "2026-11-22t16:30:01z", "2026-11-22 16:30:01Z", "2026-11-22T16:30:01.000000000Z",
		"2026-11-22T17:30:01+01:00", "2026-11-22T17:30:01+0100", "2026-11-22T17:30:01+01", "2026-11-22 17:30:01 +01:00", "2026-11-22T16:30:01",
	} {
		e, err := parse(structured(map[string]string{"time": `"` + s + `"`}), nil)
		if err != nil || !e.Time.Equal(want) {
			t.Errorf("%s: %v, %v", s, e.Time, err)
		}
	}
	for name, data := range map[string]string{"absent": structured(map[string]string{"time": ""}), "null": structured(map[string]string{"time": "null"})} {
		if e, err := parse(data, nil); err != nil || !e.Time.Equal(at) {
			t.Errorf("%s: %v, %v, want the stored time", name, e.Time, err)
		}
	}
}

func TestTheTraceIsTheLastHops(t *testing.T) {
	const other = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
	attribute := map[string]string{"traceparent": `"` + traceParent + `"`, "tracestate": `"a=1"`}
	for name, tc := range map[string]struct {
		data          string
		header        map[string][]string
		parent, state string
	}{
		"attribute":       {structured(attribute), nil, traceParent, "a=1"},
		"header":          {structured(nil), header("Traceparent", other, "TraceState", "b=2"), other, "b=2"},
		"header wins":     {structured(attribute), header("traceparent", other), other, ""},
		"bad header":      {structured(attribute), header("traceparent", "00-0-0-00"), traceParent, "a=1"},
		"all zero":        {structured(nil), header("traceparent", "00-00000000000000000000000000000000-b7ad6b7169203331-00"), "", ""},
		"upper case":      {structured(nil), header("traceparent", strings.ToUpper(other)), "", ""},
		"version ff":      {structured(nil), header("traceparent", "ff"+other[2:]), "", ""},
		"later version":   {structured(nil), header("traceparent", "01"+other[2:]+"-more"), "01" + other[2:] + "-more", ""},
		"version 00 more": {structured(nil), header("traceparent", other+"-more"), "", ""},
		"state alone":     {structured(nil), header("tracestate", "b=2"), "", ""},
		"bad state":       {structured(nil), header("traceparent", other, "tracestate", "b=\x01"), other, ""},
		"binary":          {`{"user_id":"u"}`, header("ce-specversion", "1.0", "ce-id", "e", "ce-source", "/", "ce-type", "user.erasure.requested", "ce-traceparent", other), other, ""},
		"bare":            {`{"user_id":"u"}`, header("traceparent", other), other, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := parse(tc.data, tc.header)
			if err != nil || e.TraceParent != tc.parent || e.TraceState != tc.state {
				t.Errorf("%q %q %v, want %q %q", e.TraceParent, e.TraceState, err, tc.parent, tc.state)
			}
		})
	}
}

func TestCausationAndReplayIDs(t *testing.T) {
	e, err := parse(structured(map[string]string{"causationid": `"c-1"`, "replayid": `"r-1"`}), header("ce-replayid", "r-2"))
	if err != nil || e.CausationID != "c-1" || e.ReplayID != "r-1" {
		t.Errorf("attributes: %+v, %v", e, err)
	}
	e, err = parse(structured(nil), header("ce-causationid", "c-2", "Ce-Replayid", "r-2"))
	if err != nil || e.CausationID != "c-2" || e.ReplayID != "r-2" {
		t.Errorf("headers on a structured event: %+v, %v", e, err)
	}
	if got, want := e.Cause(), (events.Cause{ID: "e-1", ReplayID: "r-2"}); got != want {
		t.Errorf("cause %+v, want %+v", got, want)
	}
	_, err = parse(structured(nil), header("ce-replayid", "r\n"))
	wantField(t, err, "ce-replayid")
}

func TestACodeUsedAsIDIsHidden(t *testing.T) {
	const code = "eyJcanary"
	m := events.Message{
		Subject: events.TypeCallbackReceived, Header: header("Nats-Msg-Id", "cb-"+code, "ce-causationid", code),
		Data: []byte(`{"state":"s","success":true,"code":"` + code + `"}`), Stream: "FINX_CALLBACKS", Sequence: 1,
	}
	first, err := events.Codec{}.Parse(m)
	if err != nil {
		t.Fatal(err)
	}
	second, _ := events.Codec{}.Parse(m)
	if strings.Contains(first.ID+first.CausationID, code) || first.ID != second.ID || !events.IsUUID(first.ID) {
		t.Errorf("id %q then %q, causation id %q", first.ID, second.ID, first.CausationID)
	}
	if c, err := events.DecodeCallbackReceived(first); err != nil || c.Code.Reveal() != code {
		t.Errorf("the code itself is lost: %v", err)
	}
}

func TestAByteOrderMarkIsSkipped(t *testing.T) {
	const mark = "\ufeff"
	for name, m := range map[string]events.Message{
		"bare":       {Data: []byte(mark + `{"user_id":"u"}`)},
		"structured": {Data: []byte(mark + structured(map[string]string{"data": `{"user_id":"u"}`}))},
		"by header":  {Data: []byte(mark + structured(map[string]string{"data": `{"user_id":"u"}`})), Header: header("Content-Type", structuredType)},
		"binary":     {Data: []byte(mark + `{"user_id":"u"}`), Header: header("ce-specversion", "1.0", "ce-id", "e", "ce-source", "/up", "ce-type", events.TypeErasureRequested)},
	} {
		m.Subject, m.Stream, m.Sequence = events.TypeErasureRequested, "S", 1
		e, err := events.Codec{}.Parse(m)
		if err != nil || string(e.Data) != `{"user_id":"u"}` {
			t.Errorf("%s: %q, %v", name, e.Data, err)
		}
	}
	_, err := events.Codec{}.Parse(events.Message{Subject: events.TypeErasureRequested, Stream: "S", Sequence: 1, Data: []byte(mark + mark + `{"user_id":"u"}`)})
	wantField(t, err, "data")
}
