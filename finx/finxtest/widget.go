package finxtest

import (
	"bytes"
	"crypto/subtle"
	_ "embed"
	"html/template"
	"net/http"
	"net/url"
	"slices"
)

//go:embed widget.html
var widgetHTML string

// widgetPage is parsed once; executing it changes nothing.
var widgetPage = template.Must(template.New("widget").Parse(widgetHTML))

// view is what the page shows.
type view struct {
	T        texts
	Lang     string
	Action   string // where the forms go
	FormKey  string
	Step     step
	Number   int // of the step, for the line "2 of 4"
	Problem  string
	Sync     bool
	Banks    []*bank
	Bank     *bank
	OTP      string
	Save     bool
	Multi    bool
	Accounts []accountRow
	Return   string // where a finished link leads
}

type accountRow struct {
	ID, Kind, IBAN string
	Checked        bool
}

// widget answers the page below a link's location. Each form is answered with a
// redirect, so reloading never sends one twice; the last one leads to the
// client's redirect_uri.
func (s *Sandbox) widget(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	// The link is a secret: it must not travel on to other hosts as a referrer.
	h.Set("Referrer-Policy", "same-origin")
	// form-action stays open, because browsers apply it to redirects too and the
	// last form has to lead to any redirect_uri.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'")

	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPost {
		h.Set("Allow", "GET, HEAD, POST")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	token := r.URL.Query().Get("token")
	if r.Method == http.MethodPost {
		s.widgetForm(w, r, token)
		return
	}
	s.mu.Lock()
	fl := s.flowOf(token)
	if fl == nil {
		s.mu.Unlock()
		s.render(w, http.StatusNotFound, view{T: textsOf("en"), Lang: "en", Step: "gone"})
		return
	}
	v := s.viewOf(fl, token)
	s.mu.Unlock()
	s.render(w, http.StatusOK, v)
}

// render writes the page in one piece, so a template error cannot leave half of it.
func (s *Sandbox) render(w http.ResponseWriter, status int, v view) {
	var b bytes.Buffer
	if err := widgetPage.Execute(&b, v); err != nil {
		s.opts.Logger.Error("rendering the widget page", "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// viewOf makes the view of a flow. For holders of s.mu.
func (s *Sandbox) viewOf(fl *flow, token string) view {
	t := textsOf(fl.language)
	v := view{
		T: t, Lang: t.Lang, Action: "/widget/?token=" + url.QueryEscape(token), FormKey: fl.formKey, Step: fl.step,
		Problem: t.Problems[fl.problem], Sync: fl.sync, Banks: banks(), Bank: fl.bank, OTP: otp,
		Save: fl.saveSecrets, Multi: fl.multi, Return: fl.redirect,
	}
	v.Number = slices.Index([]step{stepBank, stepLogin, stepOTP, stepAccounts}, fl.step) + 1
	if fl.step == stepAccounts {
		for i, a := range s.offered(fl) {
			v.Accounts = append(v.Accounts, accountRow{ID: a.id, Kind: a.kind, IBAN: spaced(a.iban), Checked: fl.multi || i == 0})
		}
	}
	return v
}

// widgetForm takes one form of the page.
func (s *Sandbox) widgetForm(w http.ResponseWriter, r *http.Request, token string) {
	if err := s.origin.Check(r); err != nil {
		http.Error(w, "forms of other sites are not taken", http.StatusForbidden)
		return
	}
	if err := r.ParseForm(); err != nil {
		http.Error(w, "unreadable form", http.StatusBadRequest)
		return
	}
	next, ok, found := s.takeForm(token, r.PostForm)
	switch {
	case !found:
		s.render(w, http.StatusNotFound, view{T: textsOf("en"), Lang: "en", Step: "gone"})
	case !ok:
		http.Error(w, "the form is not from this page", http.StatusForbidden)
	default:
		// Set by hand: http.Redirect would write the URL into a page as well.
		w.Header().Set("Location", next)
		w.WriteHeader(http.StatusSeeOther)
	}
}

// takeForm moves the flow on and returns where the browser is to go next.
func (s *Sandbox) takeForm(token string, form url.Values) (next string, ok, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fl := s.flowOf(token)
	if fl == nil {
		return "", false, false
	}
	if subtle.ConstantTimeCompare([]byte(form.Get("form_key")), []byte(fl.formKey)) != 1 {
		return "", false, true
	}
	if fl.step != stepDone {
		s.advance(fl, form)
	}
	if fl.step == stepDone {
		return fl.redirect, true, true // also for a second click: the same answer again
	}
	return "/widget/?token=" + url.QueryEscape(token), true, true
}

// advance does what the form asks for. A form of an earlier step (the back
// button) does nothing but show the present one. For holders of s.mu.
func (s *Sandbox) advance(fl *flow, form url.Values) {
	switch form.Get("do") {
	case "cancel":
		s.finish(fl, Cancel)
		return
	case "fail":
		s.finish(fl, Fail)
		return
	}
	if form.Get("step") != string(fl.step) {
		return
	}
	fl.problem = ""
	switch fl.step {
	case stepBank:
		if fl.bank = findBank(form.Get("bank")); fl.bank == nil {
			fl.problem = "bank"
			return
		}
		fl.step = stepLogin
	case stepLogin:
		s.logIn(fl, form)
	case stepOTP:
		if form.Get("otp") != otp {
			s.wrong(fl, "otp")
			return
		}
		fl.step = stepAccounts
	case stepAccounts:
		s.choose(fl, form["account"])
	case stepDone: // no page of it has a form
	}
}

func (s *Sandbox) logIn(fl *flow, form url.Values) {
	if form.Get("user") != fl.bank.User || form.Get("pin") != fl.bank.PIN {
		s.wrong(fl, "login")
		return
	}
	fl.saveSecrets = form.Get("save") == "true"
	switch {
	case fl.bank.Fails:
		s.finish(fl, Fail)
	case fl.bank.NeedsOTP:
		fl.step, fl.attempts = stepOTP, 0
	default:
		fl.step = stepAccounts
	}
}

// wrong counts a wrong login or one-time password; the third is the bank's last word.
func (s *Sandbox) wrong(fl *flow, problem string) {
	fl.problem = problem
	if fl.attempts++; fl.attempts >= 3 {
		s.finish(fl, Fail)
	}
}

func (s *Sandbox) choose(fl *flow, ids []string) {
	offered := s.offered(fl)
	chosen := slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		return !slices.ContainsFunc(offered, func(a *account) bool { return a.id == id })
	})
	if len(chosen) == 0 || (!fl.multi && len(chosen) > 1) {
		fl.problem = "accounts"
		return
	}
	s.connect(fl, chosen)
	s.finish(fl, Approve)
}

// spaced writes an IBAN in groups of four.
func spaced(iban string) string {
	var b []byte
	for i := range len(iban) {
		if i > 0 && i%4 == 0 {
			b = append(b, ' ')
		}
		b = append(b, iban[i])
	}
	return string(b)
}
