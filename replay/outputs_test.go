package replay_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/replay"
	"github.com/finx-connector/finx-connector/streams"
)

func TestOutputsArePublishedAgainToTheByte(t *testing.T) {
	r := newRig(t, setup{})
	for n := range 10 {
		r.output(part(id(n%3), "alice", n, ""))
	}
	r.output(failed(id(0), "alice", 100))
	before := r.stream(events.StreamEvents)
	everything := r.everything()

	j := r.plan(replay.Request{Mode: replay.Outputs})
	if after := r.everything(); !reflect.DeepEqual(after, everything) {
		t.Errorf("planning changed the broker:\n%v\n%v", everything, after)
	}
	size := 0
	for _, m := range before {
		size += len(m.Data)
	}
	p := j.Planned
	if p.Messages != 11 || p.Bytes != size || p.Connections != 3 || p.BankCalls != 0 || len(p.Types) != 2 || len(p.Skipped) != 0 ||
		!p.First.Equal(before[0].Time) || !p.Last.Equal(before[10].Time) || p.Streams[0].To != 11 {
		t.Errorf("%+v, %d bytes", p, size)
	}
	result := r.run(j)
	if result.Replayed != 11 || result.Counts.Done() != 11 || result.Outcome != replay.Completed {
		t.Errorf("%+v", result)
	}
	after := r.stream(events.StreamEvents)
	if len(after) != 23 { // and the record
		t.Fatalf("%d messages, want 23", len(after))
	}
	for i, was := range before {
		is := after[11+i]
		o, err := events.ParseOutput(was)
		if err != nil {
			t.Fatal(err)
		}
		got, err := events.ParseOutput(is)
		if err != nil || got.ID != o.ID || got.ReplayID != j.ID() || !bytes.Equal(got.Data, o.Data) || is.Subject != was.Subject {
			t.Errorf("%d: %v, %+v", i, err, got)
		}
		mark := fmt.Sprintf(`,"replayid":"%s"`, j.ID())
		if plain := bytes.Replace(is.Data, []byte(mark), nil, 1); !bytes.Equal(plain, was.Data) {
			t.Errorf("%d: more than the mark is another:\n%s\n%s", i, was.Data, is.Data)
		}
		want := map[string][]string{
			events.HeaderMsgID: {fmt.Sprintf("replay:%s:FINX_EVENTS:%d", j.ID(), was.Sequence)}, events.HeaderReplayID: {j.ID()},
		}
		for name, v := range was.Header {
			if want[name] == nil {
				want[name] = v
			}
		}
		if !reflect.DeepEqual(is.Header, want) {
			t.Errorf("%d: headers %v, want %v", i, is.Header, want)
		}
	}
}

// A copy is not replayed again, and neither is the record; what a replay brought
// about for the first time is.
func TestCopiesAreNotReplayedAgain(t *testing.T) {
	r := newRig(t, setup{})
	r.output(part(id(1), "alice", 1, ""))
	r.output(part(id(1), "alice", 2, "an-earlier-refetch"))
	first := r.plan(replay.Request{Mode: replay.Outputs})
	if first.Planned.Messages != 2 {
		t.Fatalf("%+v", first.Planned)
	}
	r.run(first)
	second := r.plan(replay.Request{Mode: replay.Outputs})
	if p := second.Planned; p.Messages != 2 || len(p.Skipped) != 1 || p.Skipped[0].Count != 2 || p.Skipped[0].Examples[0] != "FINX_EVENTS 3" {
		t.Fatalf("%+v", p)
	}
	result := r.run(second)
	if result.Replayed != 2 || result.Skipped != 2 {
		t.Errorf("%+v", result)
	}
	named := r.plan(replay.Request{Mode: replay.Outputs, Selection: replay.Selection{Subject: events.TypeReplayCompleted}})
	if p := named.Planned; p.Messages != 0 || len(p.Skipped) != 1 || p.Skipped[0].Count != 2 {
		t.Errorf("%+v", p)
	}
	for i, m := range r.stream(events.StreamEvents) {
		if n := bytes.Count(m.Data, []byte(`"replayid"`)); n > 1 {
			t.Errorf("message %d has %d marks", i, n)
		}
	}
}

func TestOutputsAreChosen(t *testing.T) {
	for _, perConnection := range []bool{false, true} {
		for _, prefix := range []string{"", "acme"} {
			t.Run(fmt.Sprint(prefix, perConnection), func(t *testing.T) {
				codec := events.Codec{Prefix: prefix}
				r := newRig(t, setup{config: streams.Config{Codec: codec, PerConnection: perConnection}})
				for n := range 12 {
					r.output(part(id(n%3), fmt.Sprint("user ", n%2), n, ""))
					r.output(failed(id(n%3), fmt.Sprint("user ", n%2), n))
				}
				all := r.stream(events.StreamEvents)
				for name, tc := range map[string]struct {
					selection replay.Selection
					want      func(i int, m events.Message) bool
				}{
					"all":              {replay.Selection{}, func(int, events.Message) bool { return true }},
					"subject":          {replay.Selection{Subject: "transactions.fetched"}, func(i int, _ events.Message) bool { return i%2 == 0 }},
					"prefixed subject": {replay.Selection{Subject: codec.Subject("transactions.fetched")}, func(i int, _ events.Message) bool { return i%2 == 0 }},
					"wildcard":         {replay.Selection{Subject: "transactions.fetch.*"}, func(i int, _ events.Message) bool { return i%2 == 1 }},
					"everything below": {replay.Selection{Subject: "transactions.>"}, func(int, events.Message) bool { return true }},
					"connection":       {replay.Selection{Connection: id(1)}, func(i int, _ events.Message) bool { return i/2%3 == 1 }},
					"user":             {replay.Selection{User: "user 1"}, func(i int, _ events.Message) bool { return i/2%2 == 1 }},
					"user, connection and subject": {
						replay.Selection{User: "user 1", Connection: id(0), Subject: "transactions.fetched"},
						func(i int, _ events.Message) bool { return i%2 == 0 && i/2%2 == 1 && i/2%3 == 0 },
					},
					"sequences":  {replay.Selection{FromSeq: 5, ToSeq: 9}, func(i int, _ events.Message) bool { return i >= 4 && i <= 8 }},
					"since":      {replay.Selection{Since: all[7].Time}, func(i int, m events.Message) bool { return !m.Time.Before(all[7].Time) }},
					"until":      {replay.Selection{Until: all[7].Time}, func(i int, m events.Message) bool { return !m.Time.After(all[7].Time) }},
					"long ago":   {replay.Selection{Until: time.Now().Add(-time.Hour)}, func(int, events.Message) bool { return false }},
					"not so far": {replay.Selection{Since: time.Now().Add(time.Hour)}, func(int, events.Message) bool { return false }},
					"nobody":     {replay.Selection{User: "nobody"}, func(int, events.Message) bool { return false }},
				} {
					t.Run(name, func(t *testing.T) {
						var want []string
						for i, m := range all {
							if tc.want(i, m) {
								want = append(want, fmt.Sprint(m.Sequence))
							}
						}
						target := r.target("elsewhere")
						defer func() {
							if err := r.js.DeleteStream(t.Context(), target); err != nil {
								t.Error(err)
							}
						}()
						j := r.plan(replay.Request{Mode: replay.Outputs, Selection: tc.selection, To: "elsewhere"})
						if read := j.Planned.Streams[0]; name == "not so far" && read.From != read.To+1 {
							t.Errorf("%+v is read", read)
						}
						if j.Planned.Messages != len(want) || j.Planned.ToStream != target {
							t.Errorf("%d planned to %q, want %d", j.Planned.Messages, j.Planned.ToStream, len(want))
						}
						if result := r.run(j); result.Replayed != len(want) {
							t.Errorf("%+v, want %d", result, len(want))
						}
						var got []string
						for _, m := range r.stream(target) {
							msgID := m.Header[events.HeaderMsgID][0]
							got = append(got, msgID[strings.LastIndexByte(msgID, ':')+1:])
						}
						if !slices.Equal(got, want) {
							t.Errorf("replayed %v, want %v", got, want)
						}
					})
				}
			})
		}
	}
}

func TestRequestsThatCannotBeMeant(t *testing.T) {
	r := newRig(t, setup{})
	r.target("elsewhere")
	now := time.Now()
	for name, tc := range map[string]struct {
		req  replay.Request
		want string
	}{
		"a mode":           {replay.Request{Mode: "all"}, `no replay of "all"`},
		"times":            {replay.Request{Mode: replay.Outputs, Selection: replay.Selection{Since: now, Until: now.Add(-1)}}, "--until is before --since"},
		"sequences":        {replay.Request{Mode: replay.Outputs, Selection: replay.Selection{FromSeq: 7, ToSeq: 6}}, "--to-seq is below"},
		"a connection":     {replay.Request{Mode: replay.Outputs, Selection: replay.Selection{Connection: "alice"}}, "--connection must be"},
		"a subject":        {replay.Request{Mode: replay.Outputs, Selection: replay.Selection{Subject: "a..b"}}, "--subject must be"},
		"an input":         {replay.Request{Mode: replay.Outputs, Selection: replay.Selection{Subject: "callback.received"}}, "is no subject of an output"},
		"an output":        {replay.Request{Mode: replay.Inputs, Selection: replay.Selection{Subject: "widget.link.created"}}, "is no subject of an input"},
		"wildcards in to":  {replay.Request{Mode: replay.Outputs, To: "else.>"}, "without wildcards"},
		"to an input":      {replay.Request{Mode: replay.Outputs, To: "user.connect.requested"}, "connector's own"},
		"to an output":     {replay.Request{Mode: replay.Outputs, To: "connection.failed.x"}, "connector's own"},
		"to a timer":       {replay.Request{Mode: replay.Outputs, To: "finx.due.park.S.1"}, "connector's own"},
		"to a dead letter": {replay.Request{Mode: replay.Outputs, To: "dlq.x"}, "connector's own"},
		"to the broker":    {replay.Request{Mode: replay.Outputs, To: "$KV.finx_leases.x"}, "the broker's"},
		"to of inputs":     {replay.Request{Mode: replay.Inputs, To: "elsewhere"}, "--to is for outputs"},
		"full":             {replay.Request{Mode: replay.Inputs, Full: true}, "--full is for refetch"},
		"two streams":      {replay.Request{Mode: replay.Inputs, Selection: replay.Selection{FromSeq: 2}}, "choose by --subject"},
		"refetch of seqs":  {replay.Request{Mode: replay.Refetch, Selection: replay.Selection{ToSeq: 2}}, "reads no stream"},
		"refetch subject":  {replay.Request{Mode: replay.Refetch, Selection: replay.Selection{Subject: "x"}}, "reads no stream"},
		"refetch until":    {replay.Request{Mode: replay.Refetch, Selection: replay.Selection{Until: now}}, "give both"},
		"full and since":   {replay.Request{Mode: replay.Refetch, Full: true, Selection: replay.Selection{Since: now}}, "leave --since"},
		"two lines":        {replay.Request{Mode: replay.Refetch, Reason: "a\nb"}, "one line of text"},
		"a novel":          {replay.Request{Mode: replay.Outputs, Reason: strings.Repeat("x", 2000)}, "at most"},
	} {
		tc.req.By = "ops"
		_, err := r.replayer().Plan(t.Context(), tc.req, nil)
		if _, wrong := errors.AsType[*replay.UsageError](err); !wrong || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.replayer().Plan(t.Context(), replay.Request{Mode: replay.Outputs}, nil); err == nil {
		t.Error("nobody may replay on nobody's account")
	}
}

// What is missing on the broker is said before anything is replayed.
func TestWhatIsMissingIsSaidInThePlan(t *testing.T) {
	r := newRig(t, setup{})
	r.output(part(id(1), "alice", 1, ""))
	_, err := r.replayer().Plan(t.Context(), replay.Request{Mode: replay.Outputs, By: "ops", To: "nobody.listens"}, nil)
	if err == nil || !strings.Contains(err.Error(), "no stream takes it") {
		t.Errorf("%v", err)
	}
	s, err := r.js.Stream(t.Context(), events.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.Subjects = slices.DeleteFunc(cfg.Subjects, func(s string) bool { return s == events.TypeReplayCompleted })
	if _, err := r.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []replay.Mode{replay.Outputs, replay.Inputs, replay.Refetch} {
		_, err = r.replayer().Plan(t.Context(), replay.Request{Mode: mode, By: "ops"}, nil)
		if err == nil || !strings.Contains(err.Error(), "streams apply") || !strings.Contains(err.Error(), "replay.completed") {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

// What one message is refused for does not stop the others.
func TestARefusedMessageIsNamedAndTheOthersGoOn(t *testing.T) {
	r := newRig(t, setup{})
	r.output(part(id(1), "alice", 1, ""))
	large := part(id(1), "alice", 2, "")
	large = events.NewTransactionsFetched(events.Cause{ID: "x"}, events.TransactionsFetched{
		ConnectionID: id(1), FetchID: large.ID, Account: []byte(`{"account_id":"` + strings.Repeat("x", 5000) + `"}`),
	})
	r.output(large)
	r.publish(&nats.Msg{Subject: "connection.failed", Data: []byte("no event at all")})
	r.output(part(id(1), "alice", 3, ""))
	r.target("elsewhere", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 4000 })
	result := r.run(r.plan(replay.Request{Mode: replay.Outputs, To: "elsewhere"}))
	if result.Replayed != 2 || result.Failed != 2 || len(result.Failures) != 2 || result.Failures[0].Sequence != 2 || result.Failures[1].Sequence != 3 {
		t.Errorf("%+v", result)
	}
	if strings.Contains(fmt.Sprint(result.Failures), "no event at all") {
		t.Error("a failure quotes the message")
	}
	if a := r.audits(); len(a) != 1 || a[0]["failed"] != 2.0 || a[0]["outcome"] != "completed" {
		t.Errorf("%v", a)
	}
}
