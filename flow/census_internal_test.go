package flow

import (
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

func TestRangesHoldTheirLimits(t *testing.T) {
	for _, c := range []struct {
		left time.Duration
		want string
	}{
		{-time.Hour, "expired"},
		{0, "expired"},
		{time.Second, "1d"},
		{aDay, "1d"},
		{aDay + time.Second, "3d"},
		{7 * aDay, "7d"},
		{30 * aDay, "30d"},
		{90 * aDay, "90d"},
		{400 * aDay, "more"},
	} {
		if got := labelOf(leftBuckets(), c.left); got != c.want {
			t.Errorf("%s left is in %q, want %q", c.left, got, c.want)
		}
	}
	if got := labelOf(ageBuckets(), -time.Minute); got != "6h" {
		t.Errorf("data of a clock that is ahead is in %q", got)
	}
}

func TestCensusCountsEstablishedConnectionsByWhatTheyHave(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(ago time.Duration) string { return now.Add(-ago).Format(time.RFC3339) }
	established := func(change func(*connection.Record)) connection.Record {
		rec := connection.Record{
			State: connection.Established, RefreshObtainedAt: now.Add(-85 * aDay), NextFetchAt: now.Add(time.Hour), KeepAliveAt: now.Add(-time.Minute),
			LastFetch: &connection.FetchSummary{FinishedAt: now.Add(-time.Hour)},
			Accounts:  map[string]connection.AccountMark{"a": {SucceededAt: at(time.Hour)}, "b": {SucceededAt: at(50 * time.Hour)}},
		}
		change(&rec)
		return rec
	}
	reg := prometheus.NewRegistry()
	m := NewMetrics(reg)
	c := newCensus(now, 90*aDay)
	for _, rec := range []connection.Record{
		established(func(*connection.Record) {}),
		established(func(r *connection.Record) { r.NextFetchAt = now.Add(-time.Hour) }),
		established(func(r *connection.Record) { r.LastFetch, r.Accounts = nil, nil }),
		established(func(r *connection.Record) { r.Accounts["c"] = connection.AccountMark{} }),
		{State: connection.Failed, NextFetchAt: now},
	} {
		c.count(rec)
	}
	m.counted(c)
	for name, one := range map[string]struct {
		vec    *prometheus.GaugeVec
		labels []string
		want   float64
	}{
		"established":           {m.census.states, []string{"established"}, 4},
		"failed":                {m.census.states, []string{"failed"}, 1},
		"erased":                {m.census.states, []string{"erased"}, 0},
		"five days left":        {m.census.left, []string{"7d"}, 4},
		"three days left":       {m.census.left, []string{"3d"}, 0},
		"fetched an hour ago":   {m.census.ages, []string{ageOfFetch, "6h"}, 3},
		"never fetched":         {m.census.ages, []string{ageOfFetch, ageNever}, 1},
		"the bank, 50 hours":    {m.census.ages, []string{ageOfBank, "3d"}, 2},
		"the bank, never":       {m.census.ages, []string{ageOfBank, ageNever}, 2},
		"fetches overdue":       {m.census.timers, []string{timerFetch, timerOverdue}, 1},
		"fetches ahead":         {m.census.timers, []string{timerFetch, timerAhead}, 3},
		"due this very minute":  {m.census.timers, []string{timerKeepAlive, timerAhead}, 4},
		"keep-alives overdue":   {m.census.timers, []string{timerKeepAlive, timerOverdue}, 0},
		"the next walk forgets": {m.census.ages, []string{ageOfFetch, "12h"}, 0},
	} {
		if got := testutil.ToFloat64(one.vec.WithLabelValues(one.labels...)); got != one.want {
			t.Errorf("%s: %v, want %v", name, got, one.want)
		}
	}
	if at := testutil.ToFloat64(m.census.at); time.Since(time.Unix(int64(at), 0)) > time.Minute {
		t.Errorf("the walk ended at %v", at)
	}
	m.counted(newCensus(now, 90*aDay))
	if got := testutil.ToFloat64(m.census.states.WithLabelValues("established")); got != 0 {
		t.Errorf("%v established after a walk that met none", got)
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

func TestOutcomesInTheMetrics(t *testing.T) {
	m := NewMetrics(prometheus.NewRegistry())
	rejected := errors.New("refused")
	for err, want := range map[error]string{
		nil:                                   fetchCompleted,
		fault.Transient(fault.FinX, rejected): fetchRetried,
		fault.Throttled(fault.FinX, time.Now(), rejected):           fetchRetried,
		fault.Permanent(fault.Rejected, rejected):                   fetchFailed,
		fault.Permanent(fault.Rejected, custody.ErrRefreshRejected): fetchEnded,
		fault.Permanent(fault.Rejected, custody.ErrRotationUnknown): fetchEnded,
	} {
		before := testutil.ToFloat64(m.fetches.WithLabelValues(events.TriggerSchedule, want))
		m.fetched(events.TriggerSchedule, err)
		if got := testutil.ToFloat64(m.fetches.WithLabelValues(events.TriggerSchedule, want)); got != before+1 {
			t.Errorf("%v is not counted as %s", err, want)
		}
	}
	for err, want := range map[error]string{
		nil:                                    keptRotated,
		custody.ErrNoTokens:                    keptEnded,
		fault.Transient(fault.Vault, rejected): keptFailed,
		fault.Throttled(fault.FinX, time.Now(), rejected): keptFailed,
		fault.Throttled("", time.Now(), rejected):         keptBusy,
	} {
		before := testutil.ToFloat64(m.keepAlives.WithLabelValues(want))
		m.rotated(err)
		if got := testutil.ToFloat64(m.keepAlives.WithLabelValues(want)); got != before+1 {
			t.Errorf("%v is not counted as %s", err, want)
		}
	}
	// What comes from outside makes no label value of its own.
	series := testutil.CollectAndCount(m.fetches)
	m.fetched("made up by somebody", nil)
	if got := testutil.CollectAndCount(m.fetches); got != series {
		t.Errorf("%d series, want %d", got, series)
	}
}

func TestNoMetricsAreNoTrouble(t *testing.T) {
	var m *Metrics
	m.fetched(events.TriggerSchedule, nil)
	m.completed(events.TriggerSchedule, time.Time{}, time.Time{}, fetched{})
	m.givenUp("x")
	m.due(timerFetch, time.Time{})
	m.rotated(nil)
	m.connectionFailed("x")
	m.accessEnded("x")
	m.interrupted(dutyWalk)
	m.finished(dutyWalk)
	m.panicked()
	m.counted(newCensus(time.Time{}, 0))
}
