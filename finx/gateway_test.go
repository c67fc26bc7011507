package finx_test

import (
	"fmt"
	"testing"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// gatewayAnswers are bodies of what stands in front of finX: routers, firewalls,
// cloud gateways, a server half deployed. Some of their codes look like finX's.
func gatewayAnswers() map[string]string {
	return map[string]string{
		"nothing":          "",
		"router":           `{"message":"no Route matched with those values"}`,
		"cloud gateway":    `{"message":"Forbidden"}`,
		"managed gateway":  `{"statusCode":404,"message":"Resource not found"}`,
		"code and message": `{"error":{"code":403,"message":"denied","status":"PERMISSION_DENIED"}}`,
		"named code":       `{"error":{"code":"AuthorizationFailed","message":"denied"}}`,
		"framework":        `{"status":404,"error":"Not Found","path":"/auth/token"}`,
		"firewall":         `{"code":1003,"description":"blocked","group":"client","name":"invalid_grant"}`,
		"busy, flat":       `{"code":"1008"}`,
		"list of errors":   `{"success":false,"errors":[{"code":1003,"message":"x"}]}`,
		"web page":         "<html>denied</html>",
		"text":             "error code: 1020",
		"array":            `[{"error":{"code":1003}}]`,
		"a string":         `"invalid_grant"`,
		"cut off":          `{"err`,
		"empty object":     `{}`,
		"empty error":      `{"error":{}}`,
	}
}

// Whatever answers in finX's place has no say in what becomes of a request.
func TestAGatewaysAnswerIsNotFinXsLastWord(t *testing.T) {
	for name, body := range gatewayAnswers() {
		for _, status := range []int{400, 401, 403, 404, 405, 406, 409, 410, 413, 414, 415, 422, 431, 451, 499} {
			c := newClient(t, serve(t, answer(status, body)), nil)
			for _, kind := range callers() {
				checkVerdict(t, fmt.Sprint(kind.name, " ", name, " ", status), kind.call(t.Context(), c), wantOfStatus(kind, status))
			}
		}
	}
}

// RFC 6749 §5.2: a 401 that asks for the scheme the client used blames the client.
// A client secret rotated by mistake must not end every connection.
func TestAChallengeBlamesTheClient(t *testing.T) {
	grant := want{verdict: fault.GiveUp, is: finx.ErrInvalidGrant}
	client := want{verdict: fault.Retry, is: finx.ErrClientCredentials}
	for _, tc := range []struct {
		status    int
		challenge string
		want      want
	}{
		{401, "", grant},
		{401, "Bearer", grant},
		{401, `Bearer realm="basically"`, grant},
		{401, "Basic", client},
		{401, `basic realm="finX"`, client},
		{401, `Bearer realm="finX", Basic realm="finX"`, client},
		{400, `Basic realm="finX"`, grant},
		{403, "", client},
	} {
		c := newClient(t, serve(t, answer(tc.status, `{"error":{"code":1003}}`, "WWW-Authenticate", tc.challenge)), nil)
		for _, kind := range callers() {
			if kind.token {
				checkVerdict(t, fmt.Sprintf("%s %d %q", kind.name, tc.status, tc.challenge), kind.call(t.Context(), c), tc.want)
			}
		}
	}
}
