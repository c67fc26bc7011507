package events_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

func TestRedirectPolicy(t *testing.T) {
	const malformed, rejected, fine = string(fault.Malformed), string(fault.Rejected), ""
	for _, tc := range []struct{ allow, uri, want string }{
		{"", "https://any.example/cb?x=1", fine},
		{"", "http://localhost/cb", fine},
		{"", "http://LOCALHOST:3000", fine},
		{"", "http://127.0.0.1:8080/", fine},
		{"", "http://127.9.9.9/", fine},
		{"", "http://[::1]:8080/", fine},
		{"", "http://[0:0:0:0:0:0:0:1]/", fine},
		{"", "http://any.example/cb", rejected},
		{"", "http://localhost.evil.example/", rejected},
		{"", "http://127.0.0.1.evil.example/", rejected},
		{"", "http://10.0.0.1/", rejected},
		{"", "http://127.1/", rejected},
		{"", "http://[::1%25eth0]/", rejected},
		{"", "", malformed},
		{"", "ftp://a.example/", malformed},
		{"", "https://a.example:0/", malformed},
		{"", "https://a.example:99999/", malformed},
		{"", "https://a.example:x/", malformed},
		{"", "https://a.example/%zz", malformed},
		{"https://a.example", "https://a.example/any/path?q", fine},
		{"https://a.example", "https://A.EXAMPLE:443/", fine},
		{"https://a.example:443/", "https://a.example", fine},
		{" https://b.example:8443 , ,https://a.example", "https://b.example:8443/cb", fine},
		{"https://a.example", "https://a.example:8443/", rejected},
		{"https://a.example", "http://a.example/", rejected},
		{"https://a.example", "https://a.example.evil.example/", rejected},
		{"https://a.example", "https://evila.example/", rejected},
		{"https://a.example", "https://a.example./", rejected},
		{"https://a.example", "https://sub.a.example/", rejected},
		{"https://a.example", "http://localhost/", rejected},
		{"https://a.example", "https://a.example@evil.example/", malformed},
		{"https://a.example", "https://evil.example/#https://a.example", malformed},
		{"https://a.example", `https://evil.example\.a.example/`, malformed},
		{"http://intranet.example", "http://intranet.example:80/cb", fine},
		{"http://[::1]:9000", "http://[0::1]:9000/cb", fine},
	} {
		p, err := events.ParseRedirectPolicy(tc.allow)
		if err != nil {
			t.Fatalf("%q: %v", tc.allow, err)
		}
		err = p.Check(tc.uri)
		got := ""
		if err != nil {
			got = string(fault.ClassOf(err))
			if fault.Of(err) != fault.GiveUp || !strings.Contains(err.Error(), "redirect_uri: ") {
				t.Errorf("allow %q, uri %q: %v", tc.allow, tc.uri, err)
			}
		}
		if got != tc.want {
			t.Errorf("allow %q, uri %q: %v, want %q", tc.allow, tc.uri, err, tc.want)
		}
	}
}

func TestRedirectPolicyRefusesWhatIsNoOrigin(t *testing.T) {
	for _, list := range []string{
		"a.example", "https://", "https://a.example/path", "https://a.example?x", "https://a.example?", "https://a.example#x",
		"https://u@a.example", "https://*.a.example", "ftp://a.example", "https://a.example;https://b.example", "https://ok.example,nonsense",
	} {
		if p, err := events.ParseRedirectPolicy(list); err == nil || !strings.HasPrefix(err.Error(), "REDIRECT_URI_ALLOW: ") {
			t.Errorf("%q: %v, %v", list, p.Origins(), err)
		}
	}
}

func TestRedirectPolicyShowsItsOrigins(t *testing.T) {
	p, err := events.ParseRedirectPolicy("https://A.example,http://[::1]:9000/")
	if want := []string{"https://a.example:443", "http://[::1]:9000"}; err != nil || !slices.Equal(p.Origins(), want) {
		t.Errorf("%v, %v, want %v", p.Origins(), err, want)
	}
}
