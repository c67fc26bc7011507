package e2e_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// sealing is where the key of the escrow comes from.
type sealing struct {
	name string
	set  func(r *rig)
}

func sealings() []sealing {
	return []sealing{
		{"data keys of Vault", func(r *rig) {
			// The paths that the shipped policy speaks of, on a server of the test's own.
			r.vault.Call(r.t, http.MethodPost, "transit/keys/finx-escrow", nil)
		}},
		{"a configured key", func(r *rig) { r.env["ESCROW_KEY"] = escrowKey }},
	}
}

// stranded is an installation whose Vault was sealed while two answers of finX
// were on their way: of an exchange and of a refresh.
type stranded struct {
	*rig
	watch     *watch
	p         *process
	customers []*customer
	robbed    *customer // a connection that has nothing to do with it
}

// strand brings an installation there. The answers are in hand when it returns.
func strand(t *testing.T, key sealing, env map[string]string) *stranded {
	t.Helper()
	o := options{
		sandbox: finxtest.Options{RevokeOnReuse: true, Shape: finxtest.Shape{Accounts: 1, Transactions: 20}},
		env:     map[string]string{"FINX_TIMEOUT_TOKEN": "10s", "CLOCK_SKEW": "1s"},
	}
	maps.Copy(o.env, env)
	r, w := newRigWithOutage(t, sealed(), o)
	if key.set != nil {
		key.set(r)
	}
	s := &stranded{rig: r, watch: w, p: r.serveAnywhere(true)}
	s.customers, s.robbed = []*customer{s.refresher(duringCall)}, s.refresher("planted")
	s.sandbox.Advance(2 * time.Hour)
	s.customers = append(s.customers, s.exchanger(duringCall))
	var held []*catch
	for _, c := range s.customers {
		held = append(held, w.next(spending(c.value)))
		s.act(c)
	}
	for _, one := range held {
		one.wait(t, "a token call")
	}
	r.vault.Seal(t)
	for _, one := range held {
		one.release()
	}
	natstest.Eventually(t, within, func() bool { return len(s.bank.answered(http.MethodPost, "/auth/token")) == 4 }, "finX has answered")
	return s
}

// TestAnAnswerOutlivesItsProcess keeps Vault away for longer than the process
// that holds the newest tokens lives, which is then killed. Another one, with
// nothing of the first but the broker, brings them home.
func TestAnAnswerOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	keys := sealings()
	sideBySide(t, len(keys), keys, func(k sealing) string { return k.name }, func(t *testing.T, key sealing) {
		s := strand(t, key, nil)
		entries := s.inEscrow(2)
		s.ready(s.p, http.StatusServiceUnavailable, notReady("vault"), notReady("custody"), "2 connections are in escrow")
		s.p.kill()
		s.checkNothingReadable()
		s.plant(entries[keyInEscrow(s.customers[0])])

		p := s.serveAnywhere(false)
		natstest.Eventually(t, patience, func() bool {
			out := p.out.String()
			return strings.Contains(out, `"lane takes nothing"`) || strings.Count(out, `"lane":"callbacks","subject":"callback.received"`) > 1
		}, "the next process has tried the callback, or knows better")
		s.vault.Unseal(t)
		waitReady(t, p.addr, p)
		s.home()

		s.checkRobbed(p)
		s.checkStale(entries)
		s.nothingLost()
	})
}

// TestAStopLeavesTheTokensInEscrow asks the process to stop while Vault is away.
func TestAStopLeavesTheTokensInEscrow(t *testing.T) {
	t.Parallel()
	s := strand(t, sealings()[1], map[string]string{"DRAIN_TIMEOUT": "1s"})
	s.inEscrow(2)
	if code, took := s.p.term(within); code != 0 || took < time.Second {
		t.Errorf("exit code %d after %s", code, took)
	}
	if out := s.p.out.String(); !strings.Contains(out, "drain leaves tokens in escrow") {
		t.Errorf("the process said nothing of the tokens:\n%s", tail(out, 2<<10))
	}
	s.vault.Unseal(t)
	s.serveAnywhere(true)
	s.home()
	s.nothingLost()
}

// TestAStopWaitsForTheTokens asks a process without any escrow to stop while
// Vault is away: what is in its memory is nowhere else.
func TestAStopWaitsForTheTokens(t *testing.T) {
	t.Parallel()
	s := strand(t, sealing{}, map[string]string{"DRAIN_TIMEOUT": "1s"})
	if err := s.p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	s.ready(s.p, http.StatusServiceUnavailable, notReady("custody"), "2 connections are in memory only", "shutting down")
	// It is said about once a second; the time to drain is over after the first.
	natstest.Eventually(t, within, func() bool {
		return strings.Count(s.p.out.String(), "drain waits for tokens that Vault has not taken") >= 4 ||
			strings.Contains(s.p.out.String(), "shutdown waits for handlers that do not return")
	}, "the process waits")
	select {
	case <-s.p.exited:
		t.Fatalf("the process ended with code %d", s.p.code)
	default:
	}
	s.vault.Unseal(t)
	if code := s.p.wait(within); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, c := range s.customers {
		s.checkStored(c)
	}
	s.serveAnywhere(true)
	s.home()
	s.nothingLost()
}

// home waits until both connections have what they were waiting for, and
// holds what was spent and stored against one answer each.
func (s *stranded) home() {
	s.t.Helper()
	s.finished(s.customers...)
	for _, c := range s.customers {
		s.checkStored(c)
		if n := s.watch.times(c.value); n != 1 {
			s.t.Errorf("%s: %d calls to finX, want one", c, n)
		}
	}
	s.gone(s.customers...)
	if stats := s.sandbox.Stats(); stats.CodesReused+stats.RefreshesReused+stats.FamiliesRevoked != 0 {
		s.t.Errorf("%d codes and %d refresh tokens reused, %d families revoked", stats.CodesReused, stats.RefreshesReused, stats.FamiliesRevoked)
	}
}

// answerTo is what finX answered to a value.
func (r *rig) answerTo(value string) map[string]any {
	r.t.Helper()
	for _, call := range r.bank.answered(http.MethodPost, "/auth/token") {
		if spent(call) != value {
			continue
		}
		var answer map[string]any
		if err := json.Unmarshal(call.Answer, &answer); err != nil || call.Status != http.StatusOK {
			r.t.Fatalf("the token endpoint answered %d, %v", call.Status, err)
		}
		return answer
	}
	r.t.Fatal("finX was not asked")
	return nil
}

// checkStored holds the secret in Vault against finX's answer.
func (r *rig) checkStored(c *customer) {
	r.t.Helper()
	kept, answer := r.kept(c.id), r.answerTo(c.value)
	for _, name := range []string{"access_token", "refresh_token", "token_type", "scope"} {
		if kept[name] != answer[name] || kept[name] == nil {
			r.t.Errorf("%s: the %s in Vault is not the one of finX's answer", c, name)
		}
	}
	rotation := map[bool]string{true: "1", false: "2"}[c.exchanges()]
	if kept["pending"] != nil || fmt.Sprint(kept["rotation"]) != rotation {
		r.t.Errorf("%s: rotation %v, want %s; journal open: %t", c, kept["rotation"], rotation, kept["pending"] != nil)
	}
}

// escrow is what is in the bucket.
func (r *rig) escrow() map[string][]byte {
	r.t.Helper()
	kv, err := r.js.KeyValue(r.t.Context(), "finx_escrow")
	if err != nil {
		r.t.Fatal(err)
	}
	entries := map[string][]byte{}
	list, err := kv.ListKeys(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for key := range list.Keys() {
		if entry, err := kv.Get(r.t.Context(), key); err == nil { // else it has just gone
			entries[key] = entry.Value()
		}
	}
	return entries
}

// inEscrow waits for so many entries.
func (r *rig) inEscrow(n int) (entries map[string][]byte) {
	r.t.Helper()
	natstest.Eventually(r.t, within, func() bool {
		entries = r.escrow()
		return len(entries) == n
	}, "answers in escrow")
	return entries
}

func keyInEscrow(c *customer) string {
	return c.id + "." + secret.New(c.value).SHA256()
}

// checkNothingReadable looks through the stream of the bucket, as it is on the
// broker's disk, and through everything else there, for what must not be read.
func (s *stranded) checkNothingReadable() {
	s.t.Helper()
	stream, err := s.js.Stream(s.t.Context(), "KV_finx_escrow")
	if err != nil {
		s.t.Fatal(err)
	}
	state := stream.CachedInfo().State
	var raw []byte
	for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
		m, err := stream.GetMsg(s.t.Context(), seq)
		if err != nil {
			s.t.Fatal(err)
		}
		raw = append(append(raw, m.Subject...), m.Data...)
		raw = append(raw, encode(s.t, m.Header)...)
	}
	if state.Msgs == 0 || len(raw) < 1000 {
		s.t.Fatalf("%d messages of %d bytes: there is nothing to look through", state.Msgs, len(raw))
	}
	for _, c := range s.customers {
		answer := s.answerTo(c.value)
		for what, value := range map[string]any{"what was spent": c.value, "access token": answer["access_token"], "refresh token": answer["refresh_token"]} {
			text, _ := value.(string)
			if text == "" {
				s.t.Fatalf("%s: no %s", c, what)
			}
			if form := readable(raw, text); form != "" {
				s.t.Errorf("%s: the %s is in the escrow bucket as %s", c, what, form)
			}
		}
	}
}

// readable says in which form a secret stands in a text, if it does.
func readable(raw []byte, value string) (form string) {
	forms := map[string]string{"it is": value, "hex": hex.EncodeToString([]byte(value)), "a URL": url.QueryEscape(value)}
	for shift := range 3 { // base64 looks different at each offset; its ends depend on the neighbours
		for name, enc := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64 for URLs": base64.RawURLEncoding} {
			text := enc.EncodeToString(append(make([]byte, shift), value...))
			forms[fmt.Sprintf("%s, offset %d", name, shift)] = text[4 : len(text)-4]
		}
	}
	for name, text := range forms {
		if bytes.Contains(raw, []byte(text)) {
			return name
		}
	}
	return ""
}

// plant puts a copy of an entry under the key of another connection, which has
// an open mark of a process that is gone. So would somebody do who can write to
// the bucket and wants to give one user's access to another.
func (s *stranded) plant(sealed []byte) {
	s.t.Helper()
	s.vault.Unseal(s.t)
	data := s.kept(s.robbed.id)
	data["pending"] = map[string]any{
		"kind": "refresh", "holder": "gone", "started_at": time.Now().Add(-time.Hour).UTC(), "attempt": 1, "sha256": secret.New(s.robbed.value).SHA256(),
	}
	s.vault.Call(s.t, http.MethodPost, s.mount+"/data/finx/connections/"+s.robbed.id, map[string]any{"data": data})
	s.vault.Seal(s.t)
	s.put(keyInEscrow(s.robbed), sealed)
	s.act(s.robbed)
}

// checkRobbed looks whether the planted copy was believed.
func (s *stranded) checkRobbed(p *process) {
	s.t.Helper()
	s.finished(s.robbed)
	s.checkStored(s.robbed)
	if n := s.watch.times(s.robbed.value); n != 1 {
		s.t.Errorf("the connection of the planted copy: %d calls to finX, want one", n)
	}
	if out := p.out.String(); !strings.Contains(out, "an answer in escrow cannot be opened") {
		s.t.Error("nobody said that the planted copy does not open")
	}
}

// checkStale puts answers back that later ones have overtaken.
func (s *stranded) checkStale(entries map[string][]byte) {
	s.t.Helper()
	s.sandbox.Advance(2 * time.Hour)
	before := map[*customer]string{}
	for _, c := range s.customers {
		n := len(s.seen.of(events.TypeFetchCompleted, c.id))
		s.send(events.TypeSyncRequested, syncData(c.id))
		s.completed(c.id, n+1)
		before[c] = string(encode(s.t, s.kept(c.id)))
	}
	for _, c := range s.customers {
		s.put(keyInEscrow(c), entries[keyInEscrow(c)])
	}
	s.serveAnywhere(true)
	s.gone(s.customers...)
	for _, c := range s.customers {
		if after := string(encode(s.t, s.kept(c.id))); after != before[c] {
			s.t.Errorf("%s: the secret was written once more", c)
		}
	}
}

// gone waits until the answers of connections are in escrow no more.
func (s *stranded) gone(customers ...*customer) {
	s.t.Helper()
	natstest.Eventually(s.t, patience, func() bool {
		entries := s.escrow()
		return !slices.ContainsFunc(customers, func(c *customer) bool { return entries[keyInEscrow(c)] != nil })
	}, "nothing is left in escrow")
}

func (s *stranded) put(key string, sealed []byte) {
	s.t.Helper()
	kv, err := s.js.KeyValue(s.t.Context(), "finx_escrow")
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := kv.Put(s.t.Context(), key, sealed); err != nil {
		s.t.Fatal(err)
	}
}
