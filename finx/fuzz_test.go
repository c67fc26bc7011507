package finx

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/finx-connector/finx-connector/internal/fault"
)

func FuzzDecodeErrorBody(f *testing.F) {
	for _, seed := range []string{
		``, `null`, `[]`, `{}`, `<html>`, `{"error":"invalid_grant","error_description":"no"}`,
		`{"error":{"code":1000,"data":{"bank_code":["Not a valid string."]},"description":"d","group":"client"}}`,
		`{"error":{"code":"1008","data":[1],"group":"a b"}}`, `{"error":{"code":1e9,"description":"\ud800"}}`,
		`{"message":"Forbidden"}`, `{"code":1003,"name":"invalid_grant"}`, `{"error":{"code":403,"message":"m"}}`, "\ufeff{\"error\":{\"code\":1003}}",
		`{"error":{"code":20001,"description":"half`, `{"error":{"error":{"code":1}}}`, "{\"error\":\"\xff\x00canary-secret-1\"}",
	} {
		f.Add([]byte(seed), 400)
	}
	clean := newScrubber("canary-secret-1")
	f.Fuzz(func(t *testing.T, body []byte, status int) {
		e := decodeErrorBody(body)
		for _, a := range []auth{asClient, asGrant, asUser} {
			j := judge(a, status, e)
			if j.verdict == fault.Done {
				t.Errorf("status %d is done", status)
			}
			if errors.Is(j.sentinel, ErrInvalidGrant) && (a != asGrant || status >= 500 || status == 429 || j.verdict != fault.GiveUp) {
				t.Errorf("status %d says that the grant is bad", status)
			}
			if e.foreign && (errors.Is(j.sentinel, ErrInvalidGrant) || (j.verdict == fault.GiveUp && !tooMuch(status))) {
				t.Errorf("status %d ends something by a stranger's word", status)
			}
			if j.ambiguous && a != asGrant {
				t.Errorf("status %d is ambiguous for a call that spends nothing", status)
			}
		}
		ae := &APIError{Description: clean.line(e.description), Group: e.group, OAuthError: e.oauth, Fields: e.fields}
		text := ae.Error()
		if strings.Contains(text, "canary-secret-1") || !utf8.ValidString(text) || len(ae.Description) > maxDescription || len(e.fields) > maxFields {
			t.Errorf("unfit text %q", text)
		}
		if strings.ContainsAny(text, "\r\n\x00") {
			t.Errorf("more than a line: %q", text)
		}
	})
}

func FuzzDecodeTokens(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `[]`, `{"access_token":"A"}`, `{"access_token":"A","refresh_token":null,"expires_in":"1e400"}`,
		`{"access_token":"A","expires_in":3600,"scope":"x offline","token_type":"Bearer","refresh_token":"R"}`,
		`{"access_token":"A","refresh_token":"R","sc`, `{"access_token":1,"access_token":"A"}`, `{"access_token":"\ud800"}`,
		`{"access_token":"A","refresh_token":123`, `{"access_token":4711,"refresh_token":-1.50e3}`, "\ufeff{\"access_token\":\"A\"}",
		`{"access_token":"A","expires_in":-0.0,"refresh_token":{"a":[]}} x`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := decodeTokens(body)
		if err != nil {
			if !got.AccessToken.IsZero() || !got.RefreshToken.IsZero() {
				t.Error("an error and tokens")
			}
			return
		}
		if got.AccessToken.IsZero() || got.ExpiresIn < 0 || got.ExpiresIn > maxExpiresIn {
			t.Errorf("got %+v", got)
		}
		// What another decoder reads without complaint must be what was read here.
		var strict struct {
			Access  *string `json:"access_token"`
			Refresh *string `json:"refresh_token"`
		}
		if utf8.Valid(body) && plainNames(body) && json.Unmarshal(body, &strict) == nil && strict.Access != nil && *strict.Access != "" {
			if got.AccessToken.Reveal() != *strict.Access {
				t.Errorf("access token differs from encoding/json's")
			}
			if strict.Refresh != nil && got.RefreshToken.Reveal() != *strict.Refresh {
				t.Errorf("refresh token differs from encoding/json's")
			}
		}
	})
}

// plainNames excludes bodies where the two decoders may differ by design:
// encoding/json also takes ACCESS_TOKEN for access_token, and a repeated name.
func plainNames(b []byte) bool {
	lower := bytes.ToLower(b)
	return bytes.Count(lower, []byte("token")) == 2 && bytes.Equal(lower, b) && !bytes.Contains(b, []byte(`\u`)) && isASCII(b)
}

func isASCII(b []byte) bool {
	return bytes.IndexFunc(b, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

func FuzzCutPage(f *testing.F) {
	for _, seed := range []string{
		``, `[]`, `{"transactions":[]}`, `{"transactions":null}`, `{"transactions":[{"a":1},{"b":"\ud800"}],"status":{}}`,
		`{"status":{"transactions":[1]},"transactions":[ {"a":01} ]}`, `[{"a":1},`, `[{}] x`, `{"transactions":[],"transactions":[{}]}`,
		"[{\"a\":\"\xc3\"}]", "\ufeff[{\"a\":1}]", "\ufeff\ufeff[]", `[{"amount":1.10},{"amount":-1e-7}]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		buf := PageBuffer{body: bytes.Clone(body)}
		page, err := buf.cut()
		if !bytes.Equal(buf.body, body) {
			t.Fatal("the body was changed")
		}
		if err != nil {
			return
		}
		body = bytes.TrimPrefix(body, []byte("\ufeff")) // which encoding/json does not take
		if !json.Valid(body) {
			t.Error("accepted what is no JSON")
		}
		rest := body
		for _, item := range page.Items {
			i := bytes.Index(rest, item)
			if i < 0 || !json.Valid(item) || item[0] != '{' {
				t.Fatalf("item %q is not in the body", item)
			}
			rest = rest[i+len(item):]
		}
		if want, ok := itemsOf(body); ok && want != len(page.Items) {
			t.Errorf("%d items, encoding/json finds %d", len(page.Items), want)
		}
	})
}

// itemsOf counts the items with encoding/json.
func itemsOf(body []byte) (n int, ok bool) {
	var list []json.RawMessage
	if json.Unmarshal(body, &list) == nil {
		return len(list), true
	}
	var envelope map[string]json.RawMessage
	if json.Unmarshal(body, &envelope) != nil || json.Unmarshal(envelope["transactions"], &list) != nil {
		return 0, false
	}
	return len(list), true
}

func FuzzDecodeAccounts(f *testing.F) {
	for _, seed := range []string{
		``, `[]`, `{"accounts":[{"account_id":"A","status":{"synced_at":null}}]}`, `[{"account_id":1.50,"icon":{}}]`,
		`[{"status":[],"account_id":"A","account_id":"B"}]`, `{"accounts":[{}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		accounts, err := decodeAccounts(body)
		if err != nil && accounts != nil {
			t.Error("an error and accounts")
		}
		for _, a := range accounts {
			if a.ID == "" || !json.Valid(a.Raw) || !bytes.Contains(body, a.Raw) {
				t.Errorf("unfit account %+v", a)
			}
		}
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "0", "120", "-1", "1.5", "99999999999999999999", "Wed, 21 Oct 2026 07:28:00 GMT", "soon"} {
		f.Add(seed, "Wed, 21 Oct 2026 07:27:00 GMT")
	}
	f.Fuzz(func(t *testing.T, value, date string) {
		h := http.Header{"Retry-After": {value}, "Date": {date}}
		now, err := http.ParseTime("Wed, 21 Oct 2026 07:00:00 GMT")
		if err != nil {
			t.Fatal(err)
		}
		if wait, ok := retryAfter(h, now); ok != (wait > 0) || wait > maxRetryAfter {
			t.Errorf("%q: %v %v", value, wait, ok)
		}
	})
}
