package finxtest

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// browser goes through the widget page as a person without JavaScript does: it
// reads forms out of the HTML and sends them back.
type browser struct {
	c    *client
	path string
	page string
}

func (c *client) browse(location string) *browser {
	c.t.Helper()
	b := &browser{c: c, path: strings.TrimPrefix(location, c.base)}
	b.load()
	return b
}

func (b *browser) load() {
	b.c.t.Helper()
	a := b.c.call(http.StatusOK, "GET", b.path, "", nil)
	if ct := a.header.Get("Content-Type"); ct != "text/html; charset=utf-8" {
		b.c.t.Fatalf("content type %q", ct)
	}
	b.page = string(a.body)
}

var inputTag = regexp.MustCompile(`<input [^>]*>`)

func attr(tag, name string) string {
	if m := regexp.MustCompile(name + `="([^"]*)"`).FindStringSubmatch(tag); m != nil {
		return html.UnescapeString(m[1])
	}
	return ""
}

// form returns what a browser would send: hidden fields and what is checked.
func (b *browser) form() url.Values {
	v := url.Values{}
	for _, tag := range inputTag.FindAllString(b.page, -1) {
		kind := attr(tag, "type")
		if kind == "hidden" || ((kind == "radio" || kind == "checkbox") && strings.Contains(tag, " checked")) {
			v.Add(attr(tag, "name"), attr(tag, "value"))
		}
	}
	return v
}

// post sends a form and returns the answer without following it.
func (b *browser) post(v url.Values, header ...string) answer {
	b.c.t.Helper()
	action := html.UnescapeString(regexp.MustCompile(`action="([^"]*)"`).FindStringSubmatch(b.page)[1])
	req, err := http.NewRequestWithContext(b.c.t.Context(), http.MethodPost, b.c.base+action, strings.NewReader(v.Encode()))
	if err != nil {
		b.c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	a, err := b.c.send(req)
	if err != nil {
		b.c.t.Fatal(err)
	}
	return a
}

// submit fills in the fields, presses the button and follows the redirect as
// long as it stays on the sandbox. It returns the URL that leads away, if any.
func (b *browser) submit(button string, fill ...string) *url.URL {
	b.c.t.Helper()
	v := b.form()
	for i := 0; i < len(fill); i += 2 {
		v.Set(fill[i], fill[i+1])
	}
	v.Set("do", button)
	a := b.post(v, "Sec-Fetch-Site", "same-origin", "Origin", b.c.base)
	if a.status != http.StatusSeeOther {
		b.c.t.Fatalf("status %d, want 303: %.200s", a.status, a.body)
	}
	to, err := url.Parse(a.header.Get("Location"))
	if err != nil {
		b.c.t.Fatal(err)
	}
	if to.IsAbs() {
		return to
	}
	b.path = to.String()
	b.load()
	return nil
}

func accessBody(extra ...any) map[string]any {
	m := map[string]any{"redirect_uri": "https://app.example/cb?tenant=7", "user_id": "u1", "state": "s t&a=te", "language": "en"}
	for i := 0; i < len(extra); i += 2 {
		m[extra[i].(string)] = extra[i+1]
	}
	return m
}

func TestWidgetApproval(t *testing.T) {
	s, c := start(t, Options{})
	l := c.link("/ongoing/access", accessBody())
	if !uuidPattern.MatchString(l.ID) || !strings.HasPrefix(l.Location, c.base+"/widget/?token=eyJ") || strings.Count(l.Location, ".") < 2 {
		t.Fatalf("link %+v", l)
	}
	b := c.browse(l.Location)
	for _, name := range []string{"Mockbank", "Demobank", "Pechbank"} {
		if !strings.Contains(b.page, name) {
			t.Errorf("the page does not offer %s", name)
		}
	}
	b.submit("next")
	b.submit("next", "user", "figo01", "pin", "wrong")
	if !strings.Contains(b.page, "PIN is wrong") {
		t.Fatal("a wrong PIN is not pointed out")
	}
	b.submit("next", "user", "figo01", "pin", "654321")
	b.submit("next", "otp", "000000")
	if !strings.Contains(b.page, "one-time password is wrong") {
		t.Fatal("a wrong OTP is not pointed out")
	}
	b.submit("next", "otp", "123456")
	v := b.form()
	if len(v["account"]) != 3 {
		t.Fatalf("%d accounts checked, want 3", len(v["account"]))
	}
	chosen := v["account"][1]
	done := b.submit("next", "account", chosen)
	if done == nil {
		t.Fatal("approving leads nowhere")
	}
	q := done.Query()
	if done.Host != "app.example" || q.Get("tenant") != "7" || q.Get("state") != "s t&a=te" || q.Get("success") != "true" ||
		q.Get("code") == "" || q.Get("flow_id") != l.ID || q.Has("cancel") {
		t.Fatalf("redirect %s", done)
	}
	tk := c.tokens(map[string]string{"grant_type": "authorization_code", "code": q.Get("code"), "redirect_uri": "https://app.example/cb?tenant=7"})
	if got := c.accounts(tk.AccessToken); len(got) != 1 || got[0].AccountID != chosen || got[0].AutoSync {
		t.Fatalf("accounts %+v, want %s alone, without automatic sync", got, chosen)
	}
	b.load()
	if !strings.Contains(b.page, "This link has been used") {
		t.Error("a used link does not say so")
	}
	if st := s.Stats(); st.LinksCreated != 1 || st.Approved != 1 || st.CodesIssued != 1 {
		t.Errorf("stats %+v", st)
	}
}

func TestWidgetWaysOut(t *testing.T) {
	for _, tt := range []struct {
		name   string
		opts   Options
		leave  func(*browser) *url.URL
		cancel string
	}{
		{"cancel at once", Options{}, func(b *browser) *url.URL { return b.submit("cancel") }, "cancel"},
		{"abort", Options{CancelParam: "abort"}, func(b *browser) *url.URL { return b.submit("cancel") }, "abort"},
		{"fail button", Options{}, func(b *browser) *url.URL { return b.submit("fail") }, ""},
		{"failing bank", Options{}, func(b *browser) *url.URL {
			b.submit("next", "bank", findBank("Pechbank").ID)
			return b.submit("next", "user", "demo", "pin", "demo")
		}, ""},
		{"three wrong PINs", Options{}, func(b *browser) *url.URL {
			b.submit("next")
			b.submit("next", "user", "figo01", "pin", "1")
			b.submit("next", "user", "figo01", "pin", "2")
			return b.submit("next", "user", "figo01", "pin", "3")
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, c := start(t, tt.opts)
			done := tt.leave(c.browse(c.link("/ongoing/access", accessBody()).Location))
			if done == nil {
				t.Fatal("no redirect")
			}
			q := done.Query()
			if q.Get("success") != "false" || q.Has("code") || q.Get("state") != "s t&a=te" {
				t.Errorf("redirect %s", done)
			}
			for _, name := range []string{"cancel", "abort"} {
				if want := name == tt.cancel; q.Has(name) != want {
					t.Errorf("%s present: %v, want %v", name, q.Has(name), want)
				}
			}
		})
	}
}

func TestWidgetPreselectsTheBank(t *testing.T) {
	s, c := start(t, Options{})
	demo := findBank("Demobank")
	s.mu.Lock()
	known := s.newAccounts(s.userOf("u1"), demo)[1]
	s.mu.Unlock()
	for name, extra := range map[string][]any{
		"provider_id": {"provider_id", demo.ID},
		"accounts":    {"accounts", []map[string]string{{"id": known.iban}}},
	} {
		t.Run(name, func(t *testing.T) {
			b := c.browse(c.link("/ongoing/access", accessBody(extra...)).Location)
			if !strings.Contains(b.page, "Log in at Demobank") {
				t.Fatal("the bank is not preselected")
			}
			b.submit("next", "user", "demo", "pin", "demo") // Demobank asks for no OTP
			want := 3
			if name == "accounts" {
				want = 1
			}
			if got := strings.Count(b.page, `name="account"`); got != want {
				t.Errorf("%d accounts offered, want %d", got, want)
			}
		})
	}
}

func TestWidgetSingleSelection(t *testing.T) {
	_, c := start(t, Options{})
	b := c.browse(c.link("/ongoing/access", accessBody("allow_multi_selection", false, "provider_id", findBank("Demobank").ID)).Location)
	b.submit("next", "user", "demo", "pin", "demo")
	if n := len(b.form()["account"]); n != 1 || strings.Contains(b.page, `type="checkbox" name="account"`) {
		t.Fatalf("%d accounts preselected in a single choice", n)
	}
}

func TestWidgetLanguages(t *testing.T) {
	_, c := start(t, Options{})
	for lang, word := range map[string]string{"de": "Bank wählen", "en": "Choose your bank", "es": "Elegir banco", "fr": "Choose your bank"} {
		b := c.browse(c.link("/ongoing/access", accessBody("language", lang)).Location)
		if !strings.Contains(b.page, word) {
			t.Errorf("%s: the page does not say %q", lang, word)
		}
	}
	m := accessBody()
	delete(m, "language")
	if b := c.browse(c.link("/ongoing/access", m).Location); !strings.Contains(b.page, `lang="de"`) {
		t.Error("German is not the default")
	}
	if !slices.Equal(fieldsOf(german()), fieldsOf(english())) || !slices.Equal(fieldsOf(spanish()), fieldsOf(english())) {
		t.Error("a language lacks a problem text")
	}
}

func fieldsOf(t texts) []string {
	var out []string
	for k := range t.Problems {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func TestWidgetRefusesForeignForms(t *testing.T) {
	s, c := start(t, Options{})
	b := c.browse(c.link("/ongoing/access", accessBody()).Location)
	good := b.form()
	good.Set("do", "cancel")
	bad := b.form()
	bad.Set("do", "cancel")
	bad.Set("form_key", "guess")
	for name, a := range map[string]answer{
		"another site's form":  b.post(good, "Sec-Fetch-Site", "cross-site"),
		"another origin":       b.post(good, "Origin", "https://evil.example"),
		"without the form key": b.post(bad),
	} {
		if a.status != http.StatusForbidden {
			t.Errorf("%s: status %d, want 403", name, a.status)
		}
	}
	if s.Stats().Cancelled != 0 {
		t.Error("a foreign form had an effect")
	}
	if a, _ := c.do("GET", "/widget/?token=nonsense", "", nil); a.status != http.StatusNotFound || !strings.Contains(string(a.body), "does not work") {
		t.Errorf("an unknown link: %d", a.status)
	}
}

func TestWidgetEscapesAndStale(t *testing.T) {
	_, c := start(t, Options{})
	hostile := `https://app.example/cb?x="><script>alert(1)</script>`
	l := c.link("/ongoing/access", accessBody("redirect_uri", hostile, "state", `"><script>`))
	b := c.browse(l.Location)
	first := b.form()
	b.submit("next")
	first.Set("do", "next") // the back button: an old form once more
	if a := b.post(first, "Sec-Fetch-Site", "same-origin"); a.status != http.StatusSeeOther {
		t.Fatalf("an old form: status %d", a.status)
	}
	b.load()
	if !strings.Contains(b.page, "Log in at") {
		t.Fatal("an old form moved the widget")
	}
	b.submit("fail")
	b.load()
	if strings.Contains(b.page, "<script") {
		t.Error("the page is not escaped")
	}
	a := c.call(http.StatusOK, "GET", b.path, "", nil)
	if csp := a.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", a.header)
	}
}

func TestSecondClickGivesTheSameRedirect(t *testing.T) {
	s, c := start(t, Options{})
	l := c.link("/ongoing/access", accessBody())
	one, err := s.Approve(l.Location)
	if err != nil {
		t.Fatal(err)
	}
	two, err := s.Cancel(l.Location)
	if err != nil || one.String() != two.String() {
		t.Errorf("second answer %v, %v", two, err)
	}
	if n := s.Stats().CodesIssued; n != 1 {
		t.Errorf("%d codes issued, want 1", n)
	}
}
