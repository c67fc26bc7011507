package main

import "slices"

// spread is the middle of some figures and their ends.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func spreadOf(figures []float64) spread {
	if len(figures) == 0 {
		return spread{}
	}
	s := slices.Sorted(slices.Values(figures))
	median := s[len(s)/2]
	if len(s)%2 == 0 {
		median = (median + s[len(s)/2-1]) / 2
	}
	return spread{Median: median, Min: s[0], Max: s[len(s)-1]}
}

// figures is what one side comes to in a scenario.
type figures struct {
	Side    side     `json:"side"`
	Rate    spread   `json:"per_second"`
	CPU     spread   `json:"cpu_microseconds"` // of one callback, or one transaction
	RestMiB spread   `json:"rest_mib"`
	PeakMiB spread   `json:"peak_mib"`
	Ratios  []ratios `json:"ratios"`
	Ideal   float64  `json:"of_ideal,omitempty"` // share of slots ÷ latency, where finX takes its time
}

// ratios sets a side beside a floor, round by round: what another program does to
// this machine in a round it does to both.
type ratios struct {
	To   side   `json:"to"`
	Rate spread `json:"per_second"`
	CPU  spread `json:"cpu"`
}

// figuresOf computes the table of a scenario, a row a side in the order given.
func (r result) figuresOf(sides []side) []figures {
	all := make([]figures, 0, len(sides))
	for _, who := range sides {
		samples := r.Samples[who]
		each := func(f func(sample) float64) spread {
			values := make([]float64, 0, len(samples))
			for _, s := range samples {
				values = append(values, f(s))
			}
			return spreadOf(values)
		}
		f := figures{
			Side:    who,
			Rate:    each(func(s sample) float64 { return r.Scenario.rate(s.Seconds) }),
			CPU:     each(func(s sample) float64 { return s.CPU / float64(r.Scenario.amount()) * 1e6 }),
			RestMiB: each(func(s sample) float64 { return float64(s.Rest) / (1 << 20) }),
			PeakMiB: each(func(s sample) float64 { return float64(s.Peak) / (1 << 20) }),
		}
		if r.Scenario.Latency > 0 {
			f.Ideal = f.Rate.Median / (float64(r.Scenario.Slots) / (finXCalls * r.Scenario.Latency.Seconds()))
		}
		for _, to := range sides {
			if to != who && to != ours && who == ours {
				f.Ratios = append(f.Ratios, r.ratiosOf(who, to))
			}
		}
		all = append(all, f)
	}
	return all
}

func (r result) ratiosOf(who, to side) ratios {
	var rate, cpu []float64
	for i, s := range r.Samples[who] {
		floor := r.Samples[to][i]
		rate = append(rate, floor.Seconds/s.Seconds)
		if floor.CPU > 0 {
			cpu = append(cpu, s.CPU/floor.CPU)
		}
	}
	return ratios{To: to, Rate: spreadOf(rate), CPU: spreadOf(cpu)}
}
