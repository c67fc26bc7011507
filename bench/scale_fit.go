package main

import (
	"errors"
	"fmt"
	"math"

	"github.com/finx-connector/finx-connector/events"
)

// figureName is one figure of a size and how it is told.
type figureName struct {
	Name, Says string
	unit       unit
	line       bool // it is expected to grow with the connections, and is carried on
}

type unit int

const (
	inBytes unit = iota
	inSeconds
	aSecond
	inMicroseconds
)

// figureNames lists what is told, in order.
func figureNames() []figureName {
	return []figureName{
		{"nats_disk_records", "disk: record", inBytes, true},
		{"nats_disk_bindings", "disk: state binding", inBytes, true},
		{"nats_disk_timers", "disk: two timers", inBytes, true},
		{"nats_disk_due", "disk: the last one that came due", inBytes, true},
		{"nats_disk", "disk of the broker, all of it", inBytes, true},
		{"nats_rss", "memory of the broker, at rest", inBytes, true},
		{"nats_rss_restarted", "the same, started again after a kill", inBytes, true},
		{"nats_start_stopped", "broker back after a stop", inSeconds, true},
		{"nats_start_killed", "broker back after a kill", inSeconds, true},
		{"walk_first", "walk of all records: until the first comes", inSeconds, true},
		{"walk_seconds", "walk of all records: until the last", inSeconds, true},
		{"walk_nats_cpu", "walk of all records: CPU of the broker", inSeconds, true},
		{"walk_nats_rss_peak", "walk of all records: peak memory of the broker", inBytes, true},
		{"vault_disk_data", "disk: secret (vault.db)", inBytes, true},
		{"vault_disk_log", "disk: Raft log (raft.db)", inBytes, false},
		{"vault_rss", "memory of Vault, filled (its cache holds 131,072 entries)", inBytes, false},
		{"vault_rss_peak", "memory of Vault, peak of a list", inBytes, false},
		{"vault_list_memory", "memory of Vault that a list takes", inBytes, true},
		{"vault_list_first", "list of all secrets: until the first name comes", inSeconds, true},
		{"vault_list_seconds", "list of all secrets: until the last", inSeconds, true},
		{"vault_list_cpu", "list of all secrets: CPU of Vault", inSeconds, true},
		{"vault_cpu_us_a_write", "write of a secret: CPU of Vault", inMicroseconds, false},
		{"connector_ready", "connector ready", inSeconds, false},
		{"connector_sweep_seconds", "connector: walk and sweep as fast as they go", inSeconds, true},
		{"connector_sweep_cpu", "the same: CPU of the connector", inSeconds, true},
		{"vault_sweep_cpu", "the same: CPU of Vault", inSeconds, true},
		{"connector_rss_peak", "the same: peak memory of the connector", inBytes, false},
		{"write_rate_records", "records written (two writes each)", aSecond, false},
		{"write_rate_timers", "timers written (two each)", aSecond, false},
		{"write_rate_secrets", "secrets written (raft)", aSecond, false},
	}
}

// line is a cost of a + b a connection.
type line struct {
	Fixed   float64 `json:"fixed"`
	Each    float64 `json:"each"`
	Off     float64 `json:"largest_residual"` // as a share of what was measured at the largest sizes
	Carried float64 `json:"carried"`
}

// fitAll draws a line through each figure that should be one.
func fitAll(sizes []sizeFigures, carry int) map[string]line {
	lines := map[string]line{}
	for _, f := range figureNames() {
		if !f.line {
			continue
		}
		var xs, ys []float64
		for _, s := range sizes {
			xs, ys = append(xs, float64(s.Connections)), append(ys, s.Figures[f.Name])
		}
		lines[f.Name] = fit(xs, ys, float64(carry))
	}
	return lines
}

// fit draws the line of least squares. The largest size outweighs the others: it
// is the one nearest to what the line is carried to.
func fit(xs, ys []float64, carry float64) line {
	var n, sx, sy, sxx, sxy float64
	for i, x := range xs {
		n, sx, sy, sxx, sxy = n+1, sx+x, sy+ys[i], sxx+x*x, sxy+x*ys[i]
	}
	var l line
	l.Each = (n*sxy - sx*sy) / (n*sxx - sx*sx)
	l.Fixed = (sy - l.Each*sx) / n
	for i, x := range xs {
		// Small sizes are all fixed cost and noise: what counts is the top of the line.
		if ys[i] != 0 && i >= len(xs)-2 {
			l.Off = math.Max(l.Off, math.Abs(l.Fixed+l.Each*x-ys[i])/math.Abs(ys[i]))
		}
	}
	l.Carried = l.Fixed + l.Each*carry
	return l
}

// mayDiffer is how far the direct layout may be from the real one: ids of users
// and connections differ in length by a byte or two, times in their digits.
const mayDiffer = 0.05

// compare fails unless what was written directly is as large as what the real
// route leaves behind, message by message.
func (r scaleReport) compare() error {
	if len(r.Sizes) == 0 {
		return errors.New("no size was measured")
	}
	largest := r.Sizes[len(r.Sizes)-1]
	for _, stream := range []string{recordsStream, events.StreamTimers} {
		routed, direct := r.Real.Held[stream], largest.Held[stream]
		if routed.Messages == 0 || direct.Messages == 0 {
			return fmt.Errorf("%s: %d messages of the real route, %d written directly", stream, routed.Messages, direct.Messages)
		}
		a, b := float64(routed.Bytes)/float64(routed.Messages), float64(direct.Bytes)/float64(direct.Messages)
		if math.Abs(a-b)/a > mayDiffer {
			return fmt.Errorf("%s: a message of the real route has %.0f bytes, one that was written directly %.0f", stream, a, b)
		}
	}
	return nil
}
