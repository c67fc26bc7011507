package replay

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"github.com/finx-connector/finx-connector/events"
)

// Plan is what a replay would do. It has been made without changing anything.
type Plan struct {
	ReplayID string     `json:"replay_id"`
	Mode     Mode       `json:"mode"`
	Messages int        `json:"messages"` // to be published
	Bytes    int        `json:"bytes"`    // of their bodies as they are stored
	First    *time.Time `json:"first,omitempty"`
	Last     *time.Time `json:"last,omitempty"`

	// Connections counts those the messages are about; AtLeast says that there are
	// more than were counted.
	Connections        int  `json:"connections"`
	ConnectionsAtLeast bool `json:"connections_at_least,omitempty"`

	BankCalls    int    `json:"bank_calls"` // estimated
	BankCallsHow string `json:"bank_calls_estimate"`

	Types   []TypeCount `json:"types"`
	Skipped []Skip      `json:"skipped"`
	Streams []Span      `json:"streams,omitempty"`

	// ReferencesGone counts references to large objects that are no longer in the
	// store. It is known only when the bodies had to be read; a run counts them too.
	ReferencesGone int `json:"references_gone,omitempty"`

	To       string   `json:"to,omitempty"`
	ToStream string   `json:"to_stream,omitempty"`
	Notes    []string `json:"notes,omitempty"`
}

// TypeCount is the share of one event type.
type TypeCount struct {
	Type      string `json:"type"`
	Messages  int    `json:"messages"`
	Bytes     int    `json:"bytes"`
	Done      int    `json:"done,omitempty"` // inputs whose work is done already
	BankCalls int    `json:"bank_calls"`
}

// Skip is what was chosen and is not replayed, for one reason.
type Skip struct {
	Reason   string   `json:"reason"`
	Count    int      `json:"count"`
	Examples []string `json:"examples"` // at most MostExamples
}

// MostExamples is how many of what is skipped are named.
const MostExamples = 50

// mostCounted bounds the memory of counting connections.
const mostCounted = 200_000

// Matched is how many messages were chosen, those that are skipped included.
func (p Plan) Matched() int {
	n := p.Messages
	for _, s := range p.Skipped {
		n += s.Count
	}
	return n
}

// tally adds items up to a plan.
type tally struct {
	plan        *Plan
	connections map[uint64]struct{}
	seed        maphash.Seed
}

func newTally(p *Plan) *tally {
	return &tally{plan: p, connections: map[uint64]struct{}{}, seed: maphash.MakeSeed()}
}

func (t *tally) add(it item) {
	p := t.plan
	if it.skip != "" {
		p.Skipped = skipped(p.Skipped, it)
		return
	}
	p.Messages++
	p.Bytes += it.bytes
	p.BankCalls += it.calls
	if !it.stored.IsZero() {
		if at := it.stored.UTC(); p.First == nil || at.Before(*p.First) {
			p.First = &at
		}
		if at := it.stored.UTC(); p.Last == nil || at.After(*p.Last) {
			p.Last = &at
		}
	}
	if it.connection != "" {
		if len(t.connections) < mostCounted {
			t.connections[maphash.String(t.seed, it.connection)] = struct{}{}
		} else if _, counted := t.connections[maphash.String(t.seed, it.connection)]; !counted {
			p.ConnectionsAtLeast = true
		}
		p.Connections = len(t.connections)
	}
	i := slices.IndexFunc(p.Types, func(c TypeCount) bool { return c.Type == it.typ })
	if i < 0 {
		i = len(p.Types)
		p.Types = append(p.Types, TypeCount{Type: it.typ})
	}
	c := &p.Types[i]
	c.Messages++
	c.Bytes += it.bytes
	c.BankCalls += it.calls
	if it.done {
		c.Done++
	}
}

// skipped adds one to the count of its reason.
func skipped(all []Skip, it item) []Skip {
	i := slices.IndexFunc(all, func(s Skip) bool { return s.Reason == it.skip })
	if i < 0 {
		i = len(all)
		all = append(all, Skip{Reason: it.skip, Examples: []string{}})
	}
	all[i].Count++
	if len(all[i].Examples) < MostExamples {
		all[i].Examples = append(all[i].Examples, it.place())
	}
	return all
}

// Plan finds out what a request comes to: what is to be published, what is left
// out, and what it costs. It changes nothing. told, if not nil, is told from time
// to time how many messages were looked at. Errors: *UsageError; others, when
// the broker lacks something that the replay needs, or was away.
func (r *Replayer) Plan(ctx context.Context, req Request, told func(looked int)) (*Job, error) {
	if err := req.Check(r.cfg.Codec); err != nil {
		return nil, err
	}
	req.Selection.Since, req.Selection.Until = req.Selection.Since.UTC(), req.Selection.Until.UTC()
	j := &Job{r: r, cp: checkpoint{V: checkpointVersion, ID: events.NewUUID(), Request: req, PlannedAt: time.Now().UTC(), Acked: map[string]uint64{}}}
	if err := r.checkAudit(ctx); err != nil {
		return nil, err
	}
	spans, err := r.spans(ctx, req)
	if err != nil {
		return nil, err
	}
	j.cp.Position.Spans = spans
	for _, s := range spans {
		j.cp.Acked[s.Stream] = s.To
	}
	if err := j.findTarget(ctx); err != nil {
		return nil, err
	}
	if err := j.plan(ctx, told); err != nil {
		return nil, err
	}
	j.cp.Matched, j.cp.BankCalls = j.Planned.Matched(), j.Planned.BankCalls
	return j, nil
}

// plan counts what is left to do from the job's position on.
func (j *Job) plan(ctx context.Context, told func(int)) error {
	j.src, j.oversize = j.source(), references{Replayer: j.r}
	req := j.cp.Request
	j.Planned = Plan{
		ReplayID: j.cp.ID, Mode: req.Mode, Types: []TypeCount{}, Skipped: []Skip{},
		Streams: j.cp.Position.Spans, To: req.To, ToStream: j.cp.ToStream, BankCallsHow: estimates()[req.Mode],
	}
	looked, t := 0, newTally(&j.Planned)
	err := j.src.each(ctx, j.cp.Position, true, func(it item) error {
		if looked++; told != nil && looked%1000 == 0 {
			told(looked)
		}
		t.add(it)
		if it.skip == "" {
			j.Planned.ReferencesGone += j.oversize.gone(ctx, it)
		}
		return nil
	})
	if err != nil {
		return err
	}
	j.note()
	return nil
}

// estimates says how the bank calls of a plan were come by.
func estimates() map[Mode]string {
	return map[Mode]string{
		Outputs: "none: stored events are published again",
		Inputs:  "only what is not done as far as the records tell: 1 a link, 1 a code, and for a fetch 1 for the accounts and the pages of each, as in its last fetch",
		Refetch: "at least: 1 for the accounts and 1 a page of each account, as many as in the connection's last fetch; a longer window has more pages, and an expired access token costs 1 more",
	}
}

// note adds what an operator should know before saying yes.
func (j *Job) note() {
	say := func(format string, args ...any) {
		j.Planned.Notes = append(j.Planned.Notes, fmt.Sprintf(format, args...))
	}
	req := j.cp.Request
	switch req.Mode {
	case Outputs:
		say("copies that an earlier replay published, and records of replays, are not replayed")
		if req.Selection.User != "" {
			say("every body was read: who the user of an event is stands in it and nowhere else")
		}
	case Inputs:
		say("copies that an earlier replay published are not replayed; what is done already is published and does nothing")
	case Refetch:
		if f, ok := j.src.(*refetch); ok && f.unreadable != nil {
			say("%d records cannot be read by this version and are left out, the first is %s", len(f.unreadable.IDs), f.unreadable.IDs[0])
		}
	}
}

// source opens what the job's mode reads from.
func (j *Job) source() source {
	known := &known{Replayer: j.r}
	switch req := j.cp.Request; req.Mode {
	case Inputs:
		return &inputs{Replayer: j.r, id: j.cp.ID, req: req, known: known}
	case Refetch:
		return &refetch{Replayer: j.r, id: j.cp.ID, req: req, begun: j.cp.PlannedAt, known: known}
	case Outputs:
	}
	return &outputs{Replayer: j.r, id: j.cp.ID, req: j.cp.Request}
}
