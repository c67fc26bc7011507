package e2e_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/internal/natstest"
)

const oneMiB = 1 << 20

// resident is the physical memory of a process, in bytes, as the kernel counts it.
type resident struct{ now, peak int64 }

// resident reads what the process takes now (VmRSS) and has taken at most since
// its start or the last forgetPeak (VmHWM).
func (p *process) resident() resident {
	p.t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	field := func(name string) int64 {
		_, rest, _ := strings.Cut(string(raw), name+":")
		line, _, _ := strings.Cut(rest, "\n")
		n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(line, "kB")), 10, 64)
		if err != nil {
			p.t.Fatalf("%s of the process: %v", name, err)
		}
		return n << 10
	}
	return resident{now: field("VmRSS"), peak: field("VmHWM")}
}

// forgetPeak makes the peak be counted from now on.
func (p *process) forgetPeak() {
	p.t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// gauge adds up the samples of a metric whose labels hold the text.
func (p *process) gauge(name, labels string) float64 {
	p.t.Helper()
	_, body, err := get(p.t, p.addr, "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	sum := 0.0
	for _, sample := range regexp.MustCompile(`(?m)^`+name+`(\{[^}]*\})? (\S+)$`).FindAllStringSubmatch(body, -1) {
		if v, err := strconv.ParseFloat(sample[2], 64); err == nil && strings.Contains(sample[1], labels) {
			sum += v
		}
	}
	return sum
}

// idle waits until no lane has anything in hand.
func (p *process) idle(t testing.TB) {
	t.Helper()
	natstest.Eventually(t, within, func() bool { return p.gauge("finx_connector_consumer_in_flight", "") == 0 }, "idle lanes")
}
