package finx

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/guard"
)

// said is what an answer says about finX: of whom it speaks, and a word of the why.
type said struct {
	kind   guard.Kind
	narrow bool
	why    string
}

func works() said   { return said{kind: guard.Alive} }
func itsOwn() said  { return said{kind: guard.Alive, narrow: true} }
func gone() said    { return said{kind: guard.Away, why: "finX answers with status"} }
func other() said   { return said{kind: guard.Away, why: "something that is not finX"} }
func creds() said   { return said{kind: guard.Away, why: "finX refuses the client credentials"} }
func enough() said  { return said{kind: guard.Throttled, why: "finX asks to wait"} }
func nothing() said { return said{} }

// saidWith is what each status means with a body of one kind.
type saidWith struct {
	plain             said // 4xx that mean nothing special
	unauthorized      said // 401, to a call of the client
	tooLarge          said // 413, 414, 431
	decided           said // 408, 425, 5xx
	throttled         said // 429, 503
	elsewhere, locked said // 3xx, 407, 421; 423
}

func (w saidWith) want(a auth, status int) said {
	switch status {
	case 401:
		if a == asUser {
			return itsOwn()
		}
		return w.unauthorized
	case 407, 421:
		return w.elsewhere
	case 408, 425:
		return w.decided
	case 413, 414, 431:
		return w.tooLarge
	case 423:
		return w.locked
	case 429, 503:
		return w.throttled
	}
	switch status / 100 {
	case 3:
		return w.elsewhere
	case 4:
		return w.plain
	}
	return w.decided
}

func finxCode(n int) string {
	return fmt.Sprintf(`{"error":{"code":%d,"data":{},"description":"words","group":"client"}}`, n)
}

// What every status says about finX, with every kind of body.
func TestEveryStatusSaysSomethingAboutFinX(t *testing.T) {
	foreign := saidWith{plain: other(), unauthorized: creds(), tooLarge: nothing(), decided: gone(), throttled: enough(), elsewhere: other(), locked: itsOwn()}
	words := foreign
	words.plain, words.tooLarge = works(), works()
	limit := saidWith{itsOwn(), itsOwn(), itsOwn(), itsOwn(), itsOwn(), other(), itsOwn()}
	// What finX is made of, with a status of its own failing, is finX failing.
	part := limit
	part.decided, part.throttled = gone(), enough()
	for body, w := range map[string]saidWith{
		"":                     foreign,
		"<html>no</html>":      foreign,
		`{"message":"denied"}`: foreign,
		finxCode(1000):         words,
		finxCode(1002):         words,
		finxCode(10010):        words,
		finxCode(19999):        words,
		finxCode(60000):        words,
		finxCode(1008):         limit,
		finxCode(1010):         limit,
		finxCode(1020):         limit,
		finxCode(20000):        limit,
		finxCode(29999):        limit,
		finxCode(40000):        limit,
		finxCode(49999):        limit,
		finxCode(30000):        part,
		finxCode(39999):        part,
		finxCode(50000):        part,
		finxCode(59999):        part,
	} {
		for status := 100; status <= 599; status++ {
			if status >= 200 && status < 300 {
				continue
			}
			for _, a := range []auth{asClient, asGrant, asUser} {
				checkSaid(t, a, status, body, w.want(a, status))
			}
		}
	}
}

func checkSaid(t *testing.T, a auth, status int, body string, want said) {
	t.Helper()
	e := decodeErrorBody([]byte(body))
	j := judge(a, status, e)
	got := standing(status, e, j)
	if got.Kind != want.kind || isNarrow(status, e, j) != want.narrow || !got.Until.IsZero() {
		t.Errorf("auth %d, status %d, %s: %+v, narrow %v; want %+v", a, status, body, got, isNarrow(status, e, j), want)
	}
	if (got.Why == "") != (want.why == "") || !strings.Contains(got.Why, want.why) || strings.ContainsAny(got.Why, "\n") {
		t.Errorf("auth %d, status %d, %s: %q, want %q", a, status, body, got.Why, want.why)
	}
}

// What words say that are not about the size or the place of the trouble.
func TestWordsSaySomethingAboutFinX(t *testing.T) {
	for _, tc := range []struct {
		status              int
		body                string
		client, grant, user said
	}{
		{400, `{"error":"invalid_grant"}`, works(), works(), works()},
		{401, `{"error":"invalid_grant"}`, creds(), works(), itsOwn()},
		{400, `{"error":"invalid_request"}`, works(), works(), works()},
		{400, `{"error":"invalid_client"}`, creds(), creds(), works()},
		{403, `{"error":"unauthorized_client"}`, creds(), creds(), works()},
		{400, `{"error":"invalid_token"}`, works(), works(), itsOwn()},
		{400, `{"error":"server_error"}`, gone(), gone(), gone()},
		{400, `{"error":"temporarily_unavailable"}`, enough(), enough(), enough()},
		{500, `{"error":"invalid_grant"}`, gone(), gone(), gone()},
		{400, finxCode(1003), creds(), works(), itsOwn()},
		{401, finxCode(1003), creds(), works(), itsOwn()},
		{403, finxCode(1003), creds(), creds(), itsOwn()},
		{401, finxCode(1004), creds(), creds(), itsOwn()},
		{403, finxCode(1004), creds(), creds(), works()},
		{404, `{"error":{"description":"Not Found"}}`, works(), works(), works()},
		{http.StatusConflict, `{"error":{"code":1008,"data":{"x":"` + strings.Repeat("y", 9000), itsOwn(), itsOwn(), itsOwn()},
	} {
		checkSaid(t, asClient, tc.status, tc.body, tc.client)
		checkSaid(t, asGrant, tc.status, tc.body, tc.grant)
		checkSaid(t, asUser, tc.status, tc.body, tc.user)
	}
}

// A code of a user's own limit, or of the bank, is not about who asks.
func TestA401WithAnotherCodeBlamesNoCredentials(t *testing.T) {
	for code, want := range map[int]fault.Verdict{1008: fault.WaitUntil, 1010: fault.WaitUntil, 1020: fault.WaitUntil, 20001: fault.Retry, 59999: fault.Retry} {
		for _, a := range []auth{asClient, asGrant, asUser} {
			if j := judge(a, 401, decodeErrorBody([]byte(finxCode(code)))); j.verdict != want || j.sentinel != nil {
				t.Errorf("auth %d, code %d: %+v", a, code, j)
			}
		}
	}
}
