package finxtest

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"
)

// flow is one widget link and what the human has done with it.
type flow struct {
	id, userID, redirectURI, state string
	language                       string
	sync                           bool     // made by /ongoing/sync
	accountIDs                     []string // which accounts to sync; empty: all
	wanted                         []string // IBANs or account numbers to offer
	multi, saveSecrets             bool
	expires                        time.Time

	formKey  string // must come back with each form: only our page knows it
	step     step
	bank     *bank
	attempts int
	problem  string // key of the message above the form
	redirect string // where the browser was sent in the end
}

// step is where in the widget the human is.
type step string

const (
	stepBank     step = "bank"
	stepLogin    step = "login"
	stepOTP      step = "otp"
	stepAccounts step = "accounts"
	stepDone     step = "done"
)

// createAccess answers POST /ongoing/access.
func (s *Sandbox) createAccess(w http.ResponseWriter, r *http.Request) {
	f := readFields(r, s.opts.StrictTypes)
	fl := s.commonFields(f)
	f.text("tracking_id", false, 0)
	provider := f.text("provider_id", false, 0)
	if provider != "" && !uuidPattern.MatchString(provider) {
		f.bad.add("provider_id", "Not a valid UUID.")
	}
	fl.wanted = f.accountRefs()
	f.texts("account_types", "type")
	fl.multi = f.boolean("allow_multi_selection", true)
	fl.preselect(provider)
	s.answerLink(w, r, f, fl)
}

// createSync answers POST /ongoing/sync. The user has to have accounts, and
// account_ids may only name those.
func (s *Sandbox) createSync(w http.ResponseWriter, r *http.Request) {
	f := readFields(r, s.opts.StrictTypes)
	fl := s.commonFields(f)
	fl.sync, fl.multi = true, true
	fl.accountIDs = f.texts("account_ids", "")
	if len(f.bad) == 0 {
		s.mu.Lock()
		u, known := s.users[fl.userID]
		if known && len(u.accesses) > 0 {
			fl.bank, fl.step = u.accesses[0].bank, stepLogin
			for _, id := range fl.accountIDs {
				a, acc := u.account(id)
				if a == nil {
					f.bad.add("account_ids", "Unknown account.")
					break
				}
				fl.bank = acc.bank
			}
		}
		s.mu.Unlock()
		if fl.bank == nil {
			writeError(w, http.StatusNotFound, codeNotFound, "Not Found", nil)
			return
		}
	}
	s.answerLink(w, r, f, fl)
}

// commonFields reads what both link endpoints take.
func (s *Sandbox) commonFields(f fields) *flow {
	fl := &flow{step: stepBank}
	fl.redirectURI = f.url("redirect_uri")
	fl.userID = f.text("user_id", true, 0)
	_, hasState := f.raw["state"]
	fl.state = f.text("state", false, 1024)
	if hasState && fl.state == "" && len(f.bad["state"]) == 0 {
		f.bad.add("state", "Shorter than minimum length 1.")
	}
	if fl.language = f.text("language", false, 0); fl.language == "" {
		fl.language = "de"
	}
	if !slices.Contains(languages[:], fl.language) {
		f.bad.add("language", "Must be one of: de, en, es, fr, ar.")
	}
	f.positive("sync_period", 90)
	fl.saveSecrets = f.boolean("save_secrets", false)
	return fl
}

// accountRefs reads accounts: [{"id": "<IBAN>"}].
func (f fields) accountRefs() []string {
	v, ok := f.take("accounts")
	if !ok {
		return nil
	}
	var refs []struct {
		ID *string `json:"id"`
	}
	if json.Unmarshal(v, &refs) != nil {
		f.bad.add("accounts", "Not a valid list.")
		return nil
	}
	var out []string
	for _, ref := range refs {
		if ref.ID == nil {
			f.bad.add("accounts", missing)
			return nil
		}
		out = append(out, *ref.ID)
	}
	return out
}

// preselect skips the choice of the bank when the request already made it. An
// unknown provider or a foreign account leaves the choice to the human.
func (fl *flow) preselect(provider string) {
	for _, b := range banks() {
		if b.ID == provider {
			fl.bank, fl.step = b, stepLogin
			return
		}
	}
	for _, want := range fl.wanted {
		if b := bankOfIBAN(want); b != nil {
			fl.bank, fl.step = b, stepLogin
			return
		}
	}
}

// answerLink stores the flow and answers 201 with its link.
func (s *Sandbox) answerLink(w http.ResponseWriter, r *http.Request, f fields, fl *flow) {
	f.finish()
	if len(f.bad) > 0 {
		writeInvalid(w, f.bad)
		return
	}
	base := s.opts.PublicURL
	if base == "" {
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		base = scheme + "://" + r.Host
	}
	token := jwtShaped(280)
	fl.id, fl.formKey = newUUID(), opaque("", 32)

	s.mu.Lock()
	fl.expires = s.now().Add(s.opts.LinkLifetime)
	s.flows[digestOf(token)] = fl
	s.userOf(fl.userID)
	s.stats.LinksCreated++
	s.mu.Unlock()
	writeJSON(w, http.StatusCreated, map[string]string{"location": base + "/widget/?token=" + token, "id": fl.id})
}
