package e2e_test

import (
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// scraped is a page of /metrics: what each of our series says.
type scraped struct {
	t    *testing.T
	page string
}

func (r *rig) scrape(t *testing.T, addr string) scraped {
	t.Helper()
	status, page, err := get(t, addr, "/metrics")
	if err != nil || status != http.StatusOK {
		t.Fatalf("status %d, error %v", status, err)
	}
	return scraped{t, page}
}

var ourSeries = regexp.MustCompile(`(?m)^(finx_connector_[^ ]+) (\S+)$`)

// names are the series, labels included.
func (s scraped) names() []string {
	var all []string
	for _, m := range ourSeries.FindAllStringSubmatch(s.page, -1) {
		all = append(all, m[1])
	}
	return all
}

// TestEverySeriesIsThereFromTheStart: an alert on a rate does not see the first
// increase of a series that appears with it. So whatever happens, no series appears.
func TestEverySeriesIsThereFromTheStart(t *testing.T) {
	r := newRig(t, options{
		env:     map[string]string{"SWEEP_RATE": "10000", "MAX_ATTEMPTS": "2", "FINX_RETRY_BUDGET": "50ms"},
		sandbox: finxtest.Options{Shape: finxtest.Shape{Accounts: 2, Transactions: 300}},
	})
	addr, _ := r.startAt()
	before := r.scrape(t, addr).names()

	link, _ := r.establish("counted@example.com")
	r.fault(finxtest.Fault{Call: "accounts", Status: http.StatusInternalServerError, Times: 1})
	r.fault(finxtest.Fault{Call: "transactions", Status: http.StatusTooManyRequests, RetryAfter: "1", Times: 1})
	r.send(events.TypeSyncRequested, map[string]any{"connection_id": link.ConnectionID, "full": true})
	r.completed(link.ConnectionID, 2)
	cancelled := r.connect("cancelled@example.com")
	r.callback(r.left(r.sandbox.Cancel(cancelled.Location)))
	r.event("failed", func(e event) bool {
		return e.Type == events.TypeConnectionFailed && e.ConnectionID == cancelled.ConnectionID
	})
	for _, bad := range []struct{ subject, body string }{
		{"user.connect.requested", `not JSON`},
		{"callback.received", `{"state":"nobody's","success":true,"code":"c-1"}`},
		{"transactions.sync.requested", `{"connection_id":"3f0c7c9e-6d0c-5a57-9a53-0f7ac3a2d7a1"}`},
	} {
		r.letter(r.publish(bad.subject, []byte(bad.body)))
	}
	r.sandbox.RevokeUser("counted@example.com")
	r.send(events.TypeSyncRequested, map[string]any{"connection_id": link.ConnectionID})
	r.event("access ended", func(e event) bool { return e.Type == events.TypeReauthorizationRequired })

	for name, want := range map[string]float64{
		`finx_connector_flow_fetches_total{outcome="completed",trigger="callback"}`:          1,
		`finx_connector_flow_fetches_total{outcome="completed",trigger="request"}`:           1,
		`finx_connector_flow_fetches_total{outcome="access_ended",trigger="request"}`:        1,
		`finx_connector_flow_reauthorizations_total{reason="refresh_rejected"}`:              1,
		`finx_connector_flow_connection_failures_total{reason="cancelled"}`:                  1,
		`finx_connector_consumer_dead_letters_total{class="malformed",lane="connects"}`:      1,
		`finx_connector_consumer_dead_letters_total{class="unknown_state",lane="callbacks"}`: 1,
		`finx_connector_consumer_dead_letters_total{class="rejected",lane="syncs"}`:          1,
		`finx_connector_flow_fetch_transactions_sum`:                                         600,
		`finx_connector_ready`:                                       1,
		`finx_connector_dependency_ready{dependency="vault"}`:        1,
		`finx_connector_consumer_waiting_messages{lane="callbacks"}`: 0,
		`finx_connector_custody_open_marks`:                          0,
	} {
		// What is counted is counted after the event that says so.
		natstest.Eventually(t, within, func() bool { return metric(r.scrape(t, addr).page, name) == want }, name)
	}
	after := r.scrape(t, addr)
	for _, name := range after.names() {
		if !slices.Contains(before, name) {
			t.Errorf("%s appears when it is needed: its label value must be there from the start", name)
		}
	}
	if n := len(before); n < 400 || n != len(after.names()) {
		t.Errorf("%d series at the start, %d after", n, len(after.names()))
	}
	if bytes := metric(after.page, "finx_connector_flow_fetch_bytes_sum"); bytes < 10_000 || math.IsNaN(bytes) {
		t.Errorf("fetches of %v bytes", bytes)
	}
	if strings.Contains(after.page, "counted@example.com") || strings.Contains(after.page, link.ConnectionID) {
		t.Error("a label tells who")
	}
}
