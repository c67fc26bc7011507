package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/finx-connector/finx-connector/doctor"
)

func TestDoctorOfFinX(t *testing.T) {
	in := installed(t)
	for name, tt := range map[string]struct {
		answer  http.HandlerFunc
		code    int
		verdict doctor.Verdict // of the server
		seen    string
		creds   doctor.Verdict
		remedy  string
	}{
		"the client is refused":   {notFinX(401, "application/json", `{"error":{"code":1004,"description":"`+canarySecret+`"}}`), exitFailed, doctor.OK, "status 401", doctor.Fail, "FINX_CLIENT_SECRET"},
		"refused by words":        {notFinX(400, "application/json", `{"error":"invalid_client"}`), exitFailed, doctor.OK, "status 400", doctor.Fail, "FINX_CLIENT_ID"},
		"a gateway's 404":         {notFinX(404, "text/html", "<html>default backend</html>"), exitOK, doctor.Warn, "not finX's", doctor.Skip, "FINX_BASE_URL (now http"},
		"a gateway's 403":         {notFinX(403, "text/html", "<html>"), exitOK, doctor.Warn, "not finX's", doctor.Skip, "FINX_BASE_URL"},
		"no such path":            {notFinX(404, "application/json", `{"error":{"code":1002}}`), exitOK, doctor.OK, "status 404", doctor.Skip, ""},
		"not for this client":     {notFinX(403, "application/json", `{"error":{"code":1003}}`), exitOK, doctor.OK, "status 403", doctor.Skip, ""},
		"somebody's start page":   {notFinX(200, "text/html", "<html>welcome</html>"), exitFailed, doctor.Fail, "something that is not finX", doctor.Skip, "FINX_BASE_URL"},
		"sent elsewhere":          {notFinX(302, "text/html", ""), exitFailed, doctor.Fail, "something that is not finX", doctor.Skip, "FINX_BASE_URL"},
		"broken":                  {notFinX(500, "text/html", "<html>"), exitFailed, doctor.Fail, "status 500", doctor.Skip, "ask Qwist"},
		"a gateway without finX":  {notFinX(502, "text/html", "<html>"), exitFailed, doctor.Fail, "status 502", doctor.Skip, "ask Qwist"},
		"it asks to wait":         {notFinX(503, "text/html", ""), exitOK, doctor.Warn, "asks to wait", doctor.Skip, "FINX_RATE"},
		"it asks everybody so":    {notFinX(429, "text/html", ""), exitOK, doctor.Warn, "asks to wait", doctor.Skip, "FINX_RATE"},
		"another list of its own": {notFinX(200, "application/json", `[{"id":1}]`), exitOK, doctor.OK, "status 200", doctor.OK, ""},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(tt.answer)
			t.Cleanup(srv.Close)
			in.env["FINX_BASE_URL"] = srv.URL
			in.doctor(t, tt.code).
				says(t, tt.verdict, "finx", "server", tt.seen).
				says(t, tt.creds, "finx", "credentials").
				only(t, "finx/server", "finx/credentials")
			if tt.remedy != "" {
				in.run(t, "doctor", "--only", "finx").prints(t, tt.remedy)
			}
		})
	}
}

func TestDoctorWithoutFinX(t *testing.T) {
	in := installed(t)
	in.env["FINX_BASE_URL"] = "http://127.0.0.1:1"
	in.doctor(t, exitFailed).says(t, doctor.Fail, "finx", "server", "127.0.0.1:1 does not answer (at its connection)", "refused", "firewall").
		says(t, doctor.Skip, "finx", "credentials", "no answer").only(t, "finx/server")
	in.env["FINX_BASE_URL"] = "https://finx.invalid"
	in.doctor(t, exitFailed, "--timeout", "5s").says(t, doctor.Fail, "finx", "server", "finx.invalid does not answer (at its name)", "FINX_BASE_URL")
	secure := httptest.NewTLSServer(notFinX(200, "application/json", `{}`))
	t.Cleanup(secure.Close)
	in.env["FINX_BASE_URL"] = secure.URL
	in.doctor(t, exitFailed).says(t, doctor.Fail, "finx", "server", "(at its TLS)", "certificate", "proxy that breaks TLS")
	in.env["FINX_BASE_URL"], in.env["FINX_CLIENT_SECRET"] = in.finx, canaryPassword
	in.doctor(t, exitFailed).says(t, doctor.Fail, "finx", "credentials", "FINX_CLIENT_SECRET").only(t, "finx/credentials")
}
