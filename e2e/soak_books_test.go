package e2e_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/streams"
)

// soakBooks are what finX, Vault and the brokers have to say about the same time, a
// line each.
type soakBooks struct {
	lines    []string
	problems []string
}

func (b *soakBooks) String() string { return strings.Join(b.lines, "\n") }

func (b *soakBooks) linef(format string, args ...any) {
	b.lines = append(b.lines, fmt.Sprintf(format, args...))
}

// equal notes two numbers that must be the same.
func (b *soakBooks) equal(what string, got, want int) {
	mark := "="
	if got != want {
		mark = "≠"
		b.problems = append(b.problems, fmt.Sprintf("%s: %d, want %d", what, got, want))
	}
	b.linef("  %6d %s %-6d %s", got, mark, want, what)
}

func (b *soakBooks) problemf(format string, args ...any) {
	b.problems = append(b.problems, fmt.Sprintf(format, args...))
}

// books opens all books. finX's come first, because looking at the others makes
// calls to it.
func (s *soak) books() *soakBooks {
	s.t.Helper()
	b := &soakBooks{}
	rotations := s.sandboxBook(b)
	s.brokerBook(b)
	s.bankBook(b)
	s.vaultBook(b, rotations)
	return b
}

// sandboxBook returns how many token answers finX gave that were new.
func (s *soak) sandboxBook(b *soakBooks) (answers int) {
	stats := s.sandbox.Stats()
	b.linef("finX: %d links, %d codes issued, %d exchanged, %d rotations, %d answers given again in grace",
		stats.LinksCreated, stats.CodesIssued, stats.CodesExchanged, stats.Rotations, stats.GraceAnswers)
	b.equal("codes exchanged and withheld on purpose, of those issued", stats.CodesExchanged+int(s.withheld.Load()), stats.CodesIssued)
	b.equal("codes exchanged, for connection.established", stats.CodesExchanged, s.ledger.count(events.TypeConnectionEstablished))
	b.equal("codes used again", stats.CodesReused, 0)
	b.equal("refresh tokens used again", stats.RefreshesReused, 0)
	b.equal("families revoked, for revocations by users", stats.FamiliesRevoked, len(s.ledger.inputsOf(aRevocation)))
	b.equal("tokens revoked by calls", stats.Revocations, 0)
	return stats.CodesExchanged + stats.Rotations
}

// established are the connections that stand.
func (s *soak) established() (ids []string) {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	for _, id := range s.ledger.said {
		if o := s.ledger.outputs[id]; o.typ == events.TypeConnectionEstablished && !slices.Contains(ids, o.conn) {
			ids = append(ids, o.conn)
		}
	}
	return ids
}

// vaultBook holds every secret against finX: its journal is closed, its rotations
// add up, and its refresh token is the newest there is, which shows in its use:
// an older one would be answered in grace or not at all.
func (s *soak) vaultBook(b *soakBooks, answers int) {
	s.t.Helper()
	rotations, open, newest := 0, 0, 0
	ids := s.established()
	for _, id := range ids {
		status, answer, err := s.vault.Try(s.t.Context(), s.vault.Token, http.MethodGet, s.mount+"/data/finx/connections/"+id, nil)
		if err != nil || status != http.StatusOK {
			b.problemf("Vault: the secret of connection %s: status %d, %v", id, status, err)
			continue
		}
		var kept struct {
			Data struct {
				Rotation     int    `json:"rotation"`
				RefreshToken string `json:"refresh_token"`
				Pending      any    `json:"pending"`
			} `json:"data"`
		}
		if err := json.Unmarshal(marshal(answer["data"]), &kept); err != nil {
			b.problemf("Vault: the secret of connection %s: %v", id, err)
			continue
		}
		rotations += kept.Data.Rotation
		if kept.Data.Pending != nil {
			open++
			b.problemf("Vault: the journal of connection %s is open", id)
		}
		if s.isNewest(kept.Data.RefreshToken) {
			newest++
		} else {
			b.problemf("Vault: the refresh token of connection %s is not finX's newest", id)
		}
	}
	b.linef("Vault: %d secrets of established connections", len(ids))
	b.equal("refresh tokens that are finX's newest", newest, len(ids))
	b.equal("rotations in Vault, for new answers of finX", rotations, answers)
	b.equal("journals open", open, 0)
	b.equal("sealed answers in the spools and in the escrow bucket", s.spooledAnswers()+s.keys("finx_escrow"), 0)
}

func (s *soak) isNewest(refreshToken string) bool {
	before := s.sandbox.Stats().Rotations
	body := marshal(map[string]string{"grant_type": "refresh_token", "refresh_token": refreshToken})
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.base+"/auth/token", strings.NewReader(string(body)))
	if err != nil {
		s.t.Fatal(err)
	}
	req.SetBasicAuth(clientID, clientSecret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK && s.sandbox.Stats().Rotations == before+1
}

func (s *soak) spooledAnswers() (n int) {
	for _, dir := range s.spools {
		err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				n++
			}
			return err
		})
		if err != nil {
			s.t.Error(err)
		}
	}
	return n
}

// keys counts the keys of a bucket.
func (s *soak) keys(bucket string) (n int) {
	kv, err := s.js.KeyValue(s.t.Context(), bucket)
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

// brokerBook looks at what the brokers hold.
func (s *soak) brokerBook(b *soakBooks) {
	s.t.Helper()
	s.ledger.mu.Lock()
	copies := s.shelf.again
	for _, n := range s.ledger.copies {
		copies += n
	}
	s.ledger.mu.Unlock()
	b.linef("brokers: %d messages stored once more under the id they had; %d parts of no completed fetch", copies, s.shelf.left())
	for _, durable := range []string{streams.DurableConnects, streams.DurableCallbacks} {
		info := s.consumer(durable)
		b.equal(durable+": not delivered, or not settled", int(info.NumPending)+info.NumAckPending, 0)
	}
	for _, durable := range []string{streams.DurableSyncs, streams.DurableDue} {
		info := s.consumer(durable)
		b.linef("  %6d          %s: not delivered, or not settled", int(info.NumPending)+info.NumAckPending, durable)
	}
	s.timerBook(b)
	standing, ids := 0, s.established()
	for _, id := range ids {
		rec, err := s.record(id)
		if err != nil || rec.State != connection.Established {
			b.problemf("the record of connection %s, which is established, says %s, %v", id, rec.State, err)
			continue
		}
		standing++
	}
	b.equal("records that say established, for connections that are", standing, len(ids))
	s.copiesBook(b)
}

// timerBook looks whether the chain of any connection has ended: each must have
// its next fetch set, or due, or under way.
func (s *soak) timerBook(b *soakBooks) {
	var without []string
	var underWay int
	deadline := time.Now().Add(timersWithin)
	for {
		timers := s.timers()
		without, underWay = nil, 0
		for _, durable := range []string{streams.DurableDue, streams.DurableSyncs} {
			info := s.consumer(durable)
			underWay += int(info.NumPending) + info.NumAckPending
		}
		for _, id := range s.established() {
			if timers[events.SubjectTimerSync+"."+id] == 0 {
				without = append(without, id)
			}
			if timers[events.SubjectTimerKeepAlive+"."+id] == 0 {
				b.problemf("connection %s has no keep-alive timer", id)
			}
		}
		if len(without) <= underWay || time.Now().After(deadline) {
			break
		}
		wait(s.t.Context(), time.Second) // a timer that fires is on no subject for a moment
	}
	b.linef("  %6d          connections whose next fetch is not set, %d are due or under way", len(without), underWay)
	if len(without) <= underWay {
		return
	}
	b.problemf("%d connections have no next fetch, and %d are under way", len(without), underWay)
	for _, id := range without[:min(len(without), 10)] {
		rec, err := s.record(id)
		b.problemf("connection %s: next fetch at %s, now %s, open fetch %v, last %+v, %v",
			id, rec.NextFetchAt.Format(time.RFC3339Nano), time.Now().UTC().Format(time.RFC3339Nano), rec.Fetch, rec.LastFetch, err)
	}
}

// timersWithin is how long the brokers may take to move a timer that is due.
const timersWithin = 10 * time.Second

// record reads what is known of a connection.
func (s *soak) record(id string) (rec connection.Record, err error) {
	kv, err := s.js.KeyValue(s.t.Context(), "finx_connections")
	if err != nil {
		return rec, err
	}
	entry, err := kv.Get(s.t.Context(), "connection."+id)
	if err != nil {
		return rec, err
	}
	return rec, json.Unmarshal(entry.Value(), &rec)
}

// timers counts messages by subject.
func (s *soak) timers() map[string]uint64 {
	stream, err := s.js.Stream(s.t.Context(), events.StreamTimers)
	if err != nil {
		s.t.Fatal(err)
	}
	info, err := stream.Info(s.t.Context(), jetstream.WithSubjectFilter(events.SubjectTimer+".>"))
	if err != nil {
		s.t.Fatal(err)
	}
	return info.State.Subjects
}

// copiesBook waits until every stream has three copies that agree.
func (s *soak) copiesBook(b *soakBooks) {
	for _, name := range []string{events.StreamRequests, events.StreamCallbacks, events.StreamEvents, events.StreamDLQ, events.StreamTimers} {
		natstest.Eventually(s.t, within, func() bool {
			stream, err := s.js.Stream(s.t.Context(), name)
			if err != nil {
				return false
			}
			cluster := stream.CachedInfo().Cluster
			return cluster != nil && cluster.Leader != "" && len(cluster.Replicas) == 2 &&
				!slices.ContainsFunc(cluster.Replicas, func(p *jetstream.PeerInfo) bool { return !p.Current || p.Offline })
		}, "three copies of "+name)
	}
	b.linef("  every stream has three current copies")
}
