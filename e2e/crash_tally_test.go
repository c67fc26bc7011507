package e2e_test

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// tally is what a scene came to.
type tally struct {
	effects   int // codes exchanged or refresh tokens rotated at finX
	calls     int // requests to the token endpoint
	reuses    int // codes and refresh tokens that finX saw again, too late for grace
	families  int // token families that finX revoked
	lost      int // connections whose user has to come again although the bank did not end it
	published []string
	processes int
}

// cells are the columns of the table.
func (a tally) cells() []string {
	published := "nothing"
	if len(a.published) > 0 {
		published = strings.Join(a.published, ", ")
	}
	return []string{
		strconv.Itoa(a.effects), strconv.Itoa(a.calls), strconv.Itoa(a.reuses), strconv.Itoa(a.families),
		strconv.Itoa(a.lost), published, strconv.Itoa(a.processes),
	}
}

// says reports whether an event of that type and reason was published.
func (a tally) says(typ, reason string) bool { return slices.Contains(a.published, label(typ, reason)) }

func label(typ, reason string) string {
	if reason != "" {
		return "`" + typ + "` (" + reason + ")"
	}
	return "`" + typ + "`"
}

// tally counts what has happened since prepare, and finds out by using the
// connection whether its tokens are still good. ended says that the bank took
// the access back: such a connection is not lost by us.
func (s *scene) tally(ended bool) tally {
	s.t.Helper()
	stats := s.sandbox.Stats()
	out := tally{
		effects: s.taken() - s.effects, calls: s.tokenCalls() - s.calls,
		reuses: stats.CodesReused + stats.RefreshesReused, families: stats.FamiliesRevoked - s.families,
		published: s.published(), processes: len(s.processes),
	}
	if stats.CodesExchanged > 1 {
		s.t.Errorf("a code was exchanged %d times", stats.CodesExchanged)
	}
	for _, l := range s.seen.lettersSoFar() {
		s.t.Errorf("dead letter %s: %s", header(l, "Dlq-Reason"), header(l, "Dlq-Error"))
	}
	if !ended && !s.usable() {
		out.lost = 1
	}
	if after := s.sandbox.Stats(); after.FamiliesRevoked != stats.FamiliesRevoked || after.CodesReused+after.RefreshesReused != out.reuses {
		s.t.Errorf("the trouble goes on afterwards: %d reuses, %d families revoked", after.CodesReused+after.RefreshesReused, after.FamiliesRevoked)
	}
	s.checkNothingKept()
	return out
}

// published lists what downstream was told since prepare, each event once
// however often it was published.
func (s *scene) published() []string {
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	count, told := map[string]int{}, map[string]bool{}
	for _, e := range s.seen.events {
		// Parts are as many as the data is long; whether all are there, completed says.
		if s.known[e.ID] || told[e.ID] || e.Type == events.TypeTransactionsFetched {
			continue
		}
		told[e.ID] = true
		if e.Type == events.TypeFetchFailed {
			e.Reason = "" // depends on whether the fetch or the sweep at the start was first to find that the access has ended
		}
		count[label(e.Type, e.Reason)]++
	}
	var out []string
	for what, n := range count {
		if n > 1 {
			what += fmt.Sprintf(" × %d", n)
		}
		out = append(out, what)
	}
	slices.Sort(out)
	return out
}

// usable fetches with an access token that is dead, so that the refresh token
// has to be good.
func (s *scene) usable() bool {
	s.t.Helper()
	s.sandbox.Advance(2 * time.Hour)
	before := s.sandbox.Stats().Rotations
	id := s.send(events.TypeSyncRequested, syncData(s.link.ConnectionID))
	end := s.event("end of the fetch afterwards", func(e event) bool {
		return e.CausationID == id && (e.Type == events.TypeFetchCompleted || e.Type == events.TypeFetchFailed)
	})
	s.quiet()
	good := end.Type == events.TypeFetchCompleted
	if rotated := s.sandbox.Stats().Rotations > before; rotated != good {
		s.t.Errorf("afterwards: %s, token rotated: %t", end.Type, rotated)
	}
	return good
}

// checkNothingKept waits until no sealed answer is left: each of them has been
// stored, and whoever finds one later removes it.
func (s *scene) checkNothingKept() {
	s.t.Helper()
	natstest.Eventually(s.t, patience, func() bool { return s.spooled()+s.escrowed() == 0 }, "spool and escrow bucket empty")
}

// spooled counts the sealed answers that the last process finds on its host.
func (s *scene) spooled() (n int) {
	s.t.Helper()
	err := filepath.WalkDir(s.env["ESCROW_DIR"], func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			n++
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // one that was removed meanwhile
		s.t.Fatal(err)
	}
	return n
}

// escrowed counts the sealed answers in the bucket that replicas share.
func (s *scene) escrowed() (n int) {
	s.t.Helper()
	kv, err := s.js.KeyValue(s.t.Context(), "finx_escrow")
	if err != nil {
		s.t.Fatal(err)
	}
	keys, err := kv.ListKeys(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for range keys.Keys() {
		n++
	}
	return n
}
