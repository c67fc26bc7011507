package promcheck_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// step is the time between two scrapes, and between two evaluations.
const step = time.Minute

var language = parser.NewParser(parser.Options{})

// sample is one value of a series.
type sample struct {
	at    int64 // milliseconds
	value float64
}

func (s sample) T() int64                      { return s.at }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.value }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }

// store is a Prometheus that was told what it has scraped. It is enough for the
// engine; Prometheus' own storage needs the whole of Prometheus.
type store struct {
	t      *testing.T
	series map[string]*series
}

type series struct {
	labels  labels.Labels
	samples []chunks.Sample
}

// newStore scrapes the series, written as promtool writes them, from time 0 on.
func newStore(t *testing.T, lines []string) *store {
	t.Helper()
	s := &store{t: t, series: map[string]*series{}}
	for _, line := range lines {
		ls, values, err := language.ParseSeriesDesc(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		for i, v := range values {
			if !v.Omitted {
				s.add(ls, int64(i)*step.Milliseconds(), v.Value)
			}
		}
	}
	return s
}

func (s *store) add(ls labels.Labels, at int64, value float64) {
	key := ls.String()
	if s.series[key] == nil {
		s.series[key] = &series{labels: ls}
	}
	s.series[key].samples = append(s.series[key].samples, sample{at, value})
}

// Querier is of storage.Queryable.
func (s *store) Querier(mint, maxt int64) (storage.Querier, error) {
	return &storage.MockQuerier{SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
		set := &seriesSet{}
		for _, one := range s.series {
			if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(one.labels.Get(m.Name)) }) {
				set.all = append(set.all, storage.NewListSeries(one.labels, between(one.samples, mint, maxt)))
			}
		}
		slices.SortFunc(set.all, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
		return set
	}}, nil
}

func between(all []chunks.Sample, mint, maxt int64) []chunks.Sample {
	from, _ := slices.BinarySearchFunc(all, mint, func(c chunks.Sample, at int64) int { return int(c.T() - at) })
	to, _ := slices.BinarySearchFunc(all, maxt+1, func(c chunks.Sample, at int64) int { return int(c.T() - at) })
	return all[from:to]
}

// seriesSet goes through series that were found.
type seriesSet struct {
	all []storage.Series
	at  storage.Series
}

func (s *seriesSet) Next() bool {
	if len(s.all) == 0 {
		return false
	}
	s.at, s.all = s.all[0], s.all[1:]
	return true
}

func (s *seriesSet) At() storage.Series                { return s.at }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }

// ask evaluates an expression as of a time.
func (s *store) ask(engine *promql.Engine, expr string, at time.Duration) promql.Vector {
	s.t.Helper()
	query, err := engine.NewInstantQuery(context.WithoutCancel(s.t.Context()), s, nil, expr, time.UnixMilli(at.Milliseconds()))
	if err != nil {
		s.t.Fatal(err)
	}
	defer query.Close()
	result := query.Exec(s.t.Context())
	vector, err := result.Vector()
	if err != nil {
		s.t.Fatalf("%s: %v", expr, err)
	}
	return slices.Clone(vector)
}

func newEngine() *promql.Engine {
	return promql.NewEngine(promql.EngineOpts{MaxSamples: 50_000_000, Timeout: time.Minute})
}
