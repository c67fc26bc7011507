package e2e_test

import (
	"context"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

const startAct = "it starts"

// TestConnectorHasTheRightsItNeedsAndNoMore runs the connector through its life on
// the shipped configuration of the broker: nothing is refused. Then it takes one
// rule away at a time: each is missed.
func TestConnectorHasTheRightsItNeedsAndNoMore(t *testing.T) { //nolint:tparallel // what one part sees, the next goes on with
	t.Parallel()
	long := connectorOptions()
	long.env["SUBJECT_PER_CONNECTION"] = "true"
	missed := map[string]bool{}
	t.Run("as shipped", func(t *testing.T) {
		checkConnector(t, newRoled(t, "", connectorOptions(), []string{natstest.RoleConnector}), "", missed)
	})
	t.Run("with a prefix, a subject a connection, long acknowledgements", func(t *testing.T) {
		r := newRoled(t, "acme.eu", long, []string{natstest.RoleConnector}, func(o *server.Options) {
			o.FeatureFlags = map[string]bool{server.FeatureFlagJsAckFormatV2: true}
		})
		checkConnector(t, r, "acme.eu", missed)
		for _, rule := range r.rules {
			if !missed[plain(rule.subject, "acme.eu")] {
				t.Errorf("superfluous: %s", rule)
			}
		}
	})
}

// checkConnector holds the rules of the connector against what it does. It notes in
// missed which ones it misses, and takes those away that were not missed before.
func checkConnector(t *testing.T, r *roled, prefix string, missed map[string]bool) {
	t.Helper()
	acts := append([]act{{startAct, func(*roled) {}}}, connectorActs()...)
	r.again = func() func() { return r.connector(r.shipped.Roles[natstest.RoleConnector], true) }
	r.wire.during(startAct)
	r.stop = r.again()
	for _, a := range acts[1:] {
		r.wire.during(a.name)
		a.do(r)
	}
	r.stop()
	r.wire.checkNothingRefused(t, r.names())
	needed := r.wire.needed(r.shipped, r.rules)
	for _, i := range slices.Sorted(maps.Keys(needed)) {
		rule := r.rules[i]
		if missed[plain(rule.subject, prefix)] {
			continue
		}
		missed[plain(rule.subject, prefix)] = true
		if needed[i] != startAct && os.Getenv("FINX_TEST_LONG") == "" {
			continue // it is known to be used; that it is missed takes seconds each to see
		}
		a := acts[slices.IndexFunc(acts, func(a act) bool { return a.name == needed[i] })]
		begun := time.Now()
		checkMissed(r, rule, a)
		t.Logf("%6s while %q: %s", time.Since(begun).Round(time.Millisecond), a.name, rule)
	}
}

// checkMissed runs a connector without one rule through an act that needs it.
func checkMissed(r *roled, rule roleRule, a act) {
	for _, stream := range []string{
		events.StreamRequests, events.StreamCallbacks, events.StreamTimers, "KV_" + connectionkv.BucketControl, "KV_" + connectionkv.BucketLeases,
		"KV_" + connectionkv.BucketEscrow, // nothing is left of the one before
	} {
		s, err := r.js.Stream(r.t.Context(), stream)
		if err == nil {
			err = s.Purge(r.t.Context())
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
	_, stop := quietly(r.t, func(t testing.TB) {
		m := r.at(t)
		m.again = func() func() { return m.connector(rule.without, false) }
		m.stop = m.again()
		defer func() { m.stop() }()
		a.do(m)
		<-t.Context().Done()
	})
	limit, cancel := context.WithTimeout(r.t.Context(), within)
	defer cancel()
	r.wire.checkRefusal(r.t, rule, a.name, limit.Done())
	stop()
}
