package e2e_test

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"

	"github.com/finx-connector/finx-connector/finx/finxtest"
	"github.com/finx-connector/finx-connector/internal/crashpoint"
)

// crash is a moment at which the process is killed: a row of the matrix.
type crash struct {
	number string // as docs/custody.md has it
	what   string
	kind   string
	// points are the crash points, or the one gate, at which one process after
	// the other dies.
	points []string
	gate   func(*scene, *victim) (fired func())
	gates  int // how many processes die at the gate; 0 means one
	// trouble is what else goes wrong until the process is dead.
	trouble func(*scene) (over func())
	// ended: the bank took the access back, or never gave it.
	ended bool
	// window: finX has acted, and its answer is nowhere or with the process that
	// dies. It is the only one in which tokens can be lost.
	window bool
	// again: whoever takes over comes to the same moment.
	again bool
	// elsewhere: whoever takes over does so on another host, and sees nothing of
	// this one's disk. rival: a replica on another host gets the event first, the
	// dead process is started again on its own.
	elsewhere, rival bool
}

// crashes are all moments of one kind, in the order in which they come.
func crashes(kind string) []crash {
	name := func(point string) []string { return []string{kind + point} }
	list := []crash{
		{number: "①", what: "the lock is held, the record read", points: name(crashpoint.Locked), again: true},
		{number: "①b", what: "the mark is on its way to Vault", gate: vaultMoment(isMark, false), again: true},
		{number: "②", what: "the mark is stored, Vault's answer is not back", gate: vaultMoment(isMark, true), again: true},
		{number: "③", what: "the mark is written, the call has not begun", points: name(crashpoint.Marked), again: true},
		{number: "④", what: "the call has arrived, finX has not acted", gate: finxMoment(false), again: true},
		{number: "⑤", what: "finX has acted, no byte of its answer is back", gate: finxMoment(true), window: true},
		{number: "⑤b", what: "the answer is in memory and nowhere else", points: name(crashpoint.Received), window: true},
		{number: "⑥", what: "a sealed copy is in the spool", points: name(crashpoint.Kept)},
		{number: "⑥ and a replica", what: "a sealed copy is in the spool; a replica on another host gets the event, and the process starts again", points: name(crashpoint.Kept), rival: true},
		{number: "⑥ host gone", what: "a sealed copy is in the spool of a host that never comes back", points: name(crashpoint.Kept), elsewhere: true, window: true},
		{number: "⑥b", what: "the tokens are on their way to Vault", gate: vaultMoment(isTokens, false)},
		{number: "⑦", what: "Vault does not take the tokens, a sealed copy is in the bucket; another host takes over", points: name(crashpoint.Escrowed), trouble: vaultTakesNoTokens, elsewhere: true},
		{number: "⑧", what: "the tokens are stored, Vault's answer is not back", gate: vaultMoment(isTokens, true)},
		{number: "⑨", what: "the tokens are stored", points: name(crashpoint.Stored)},
	}
	if kind == exchange {
		list = append(list,
			crash{number: "⑩", what: "`connection.established` is published", points: []string{crashpoint.CallbackAnnounced}, again: true},
			crash{number: "⑪", what: "the connection's record says established", points: []string{crashpoint.CallbackMoved}},
			crash{number: "⑫", what: "the first fetch is asked for, the callback is not acknowledged", points: []string{crashpoint.CallbackAsked}, again: true},
			crash{number: "consumed", what: "the state is consumed by this code", points: []string{crashpoint.CallbackConsumed}, again: true},
		)
	}
	list = append(list,
		crash{number: "home", what: "⑥, and the next one when it has brought the copy home", points: []string{kind + crashpoint.Kept, crashpoint.HomeStored}},
		crash{number: "ambiguous", what: "the call broke off before finX acted; the record is read again", points: name(crashpoint.Ambiguous), trouble: answerLost("before")},
		crash{number: "ambiguous b", what: "the call broke off after finX had acted; the record is read again", points: name(crashpoint.Ambiguous), trouble: answerLost("after"), window: true},
		crash{number: "refused", what: "finX refuses, the outcome is not kept", points: name(crashpoint.Refused), trouble: refusal, ended: true, again: true},
		crash{number: "settled", what: "finX refuses, the outcome is kept with the mark", points: name(crashpoint.Settled), trouble: refusal, ended: true},
	)
	if kind == exchange {
		list = append(list, crash{number: "failed", what: "finX refuses, `connection.failed` is published", points: []string{crashpoint.CallbackFailed}, trouble: refusal, ended: true, again: true})
	} else {
		list = append(list,
			crash{number: "linked", what: "finX refuses, the renewal link is made", points: []string{crashpoint.ReauthLinked}, trouble: refusal, ended: true, again: true},
			crash{number: "announced", what: "finX refuses, `connection.reauthorization.required` is published", points: []string{crashpoint.ReauthAnnounced}, trouble: refusal, ended: true, again: true},
		)
	}
	for i := range list {
		list[i].kind = kind
	}
	return list
}

// finxMoment kills when a token call has arrived: before it takes effect, or
// after it did and before the answer is back.
func finxMoment(acted bool) func(*scene, *victim) func() {
	return func(s *scene, v *victim) func() {
		return killAt(s.t, s.bank, v, func(c passing) bool {
			return c.is(http.MethodPost, "/auth/token") && c.Answered == acted
		})
	}
}

// vaultMoment kills at a write of the connection's secret: before Vault has it,
// or after it was stored and before the answer is back.
func vaultMoment(fits func(passing) bool, stored bool) func(*scene, *victim) func() {
	return func(s *scene, v *victim) func() {
		return killAt(s.t, s.safe, v, func(c passing) bool { return c.Answered == stored && fits(c) })
	}
}

func isWrite(c passing) bool {
	return c.Method != http.MethodGet && strings.Contains(c.Path, "/data/finx/connections/")
}

// isMark and isTokens tell the writes of the protocol apart.
func isMark(c passing) bool { return isWrite(c) && bytes.Contains(c.Body, []byte(`"pending":{`)) }

func isTokens(c passing) bool {
	return isWrite(c) && !isMark(c) && bytes.Contains(c.Body, []byte(`"access_token"`))
}

// vaultTakesNoTokens lets marks through, so that the call is made.
func vaultTakesNoTokens(s *scene) (over func()) {
	s.safe.answer(func(c passing) (int, string) {
		if isTokens(c) {
			return http.StatusServiceUnavailable, `{"errors":["Vault is sealed"]}`
		}
		return 0, ""
	})
	return func() { s.safe.answer(nil) }
}

// answerLost drops the connection of the next token call, before or after it
// has taken effect.
func answerLost(when string) func(*scene) func() {
	return func(s *scene) func() {
		s.fault(finxtest.Fault{Call: "token." + s.kind, Drop: when, Times: 1})
		return s.sandbox.ClearFaults
	}
}

// refusal makes finX refuse: a code that it never issued, or a user who took
// the access back.
func refusal(s *scene) (over func()) {
	if s.kind == exchange {
		back, err := url.Parse(s.back)
		if err != nil {
			s.t.Fatal(err)
		}
		query := back.Query()
		query.Set("code", "a-code-that-finx-never-issued")
		back.RawQuery = query.Encode()
		s.back = back.String()
	} else {
		s.sandbox.RevokeUser(crashUser)
	}
	s.families = s.sandbox.Stats().FamiliesRevoked
	return func() {}
}
