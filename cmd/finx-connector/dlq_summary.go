package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/finx-connector/finx-connector/dlq"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// letterGroup is what dead letters of one class and event have in common.
type letterGroup struct {
	Class   fault.Class `json:"class"`
	Event   string      `json:"event"` // the type; the subject where that says none
	Count   int         `json:"count"`
	Refused int         `json:"refused,omitempty"` // of a plan: those that cannot be redriven
	Oldest  time.Time   `json:"oldest"`
	Newest  time.Time   `json:"newest"`
}

// letterGroups counts dead letters, by class and event.
type letterGroups struct {
	codec events.Codec
	by    map[[2]string]*letterGroup
}

func (p *program) summarizeLetters(ctx context.Context, out format, q *dlq.Queue, f dlq.Filter) error {
	groups := letterGroups{codec: q.Codec()}
	err := q.Each(ctx, f, func(l dlq.Letter) error {
		groups.add(viewLetter(l), false)
		return nil
	})
	if err != nil {
		return err
	}
	all := groups.sorted()
	if out.json() {
		return writeJSON(p.stdout, all)
	}
	t := newTable(p.stdout, "CLASS", "EVENT", "COUNT", "OLDEST", "NEWEST")
	total, oldest, now := 0, time.Time{}, time.Now()
	for _, g := range all {
		t.row(string(g.Class), g.Event, fmt.Sprint(g.Count), age(now, g.Oldest), age(now, g.Newest))
		if total += g.Count; oldest.IsZero() || g.Oldest.Before(oldest) {
			oldest = g.Oldest
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	text := counted(total, "dead letter")
	if total > 0 {
		text += ", the oldest of " + shown(oldest)
	}
	_, err = fmt.Fprintln(p.stdout, text)
	return err
}

func (g *letterGroups) add(v letterView, refused bool) {
	if g.by == nil {
		g.by = map[[2]string]*letterGroup{}
	}
	event, ok := g.codec.TypeOf(v.Subject)
	if !ok {
		event = v.Subject
	}
	key := [2]string{string(v.Class), event}
	one := g.by[key]
	if one == nil {
		one = &letterGroup{Class: v.Class, Event: event, Oldest: v.Time, Newest: v.Time}
		g.by[key] = one
	}
	one.Count++
	if refused {
		one.Refused++
	}
	if v.Time.Before(one.Oldest) {
		one.Oldest = v.Time
	}
	if v.Time.After(one.Newest) {
		one.Newest = v.Time
	}
}

// sorted returns the groups, the largest first.
func (g *letterGroups) sorted() []letterGroup {
	all := []letterGroup{}
	for _, one := range g.by {
		all = append(all, *one)
	}
	slices.SortFunc(all, func(a, b letterGroup) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Class, b.Class), cmp.Compare(a.Event, b.Event))
	})
	return all
}
