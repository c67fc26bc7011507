package finxtest

import (
	"encoding/json"
	"net/http"
	"time"
)

// accountJSON is the account object.
type accountJSON struct {
	AccountID         string          `json:"account_id"`
	AccountNumber     string          `json:"account_number"`
	BankCode          string          `json:"bank_code"`
	IBAN              string          `json:"iban"`
	BIC               string          `json:"bic"`
	AccessID          string          `json:"access_id"`
	BankName          string          `json:"bank_name"`
	Icon              struct{}        `json:"icon"`
	Currency          string          `json:"currency"`
	Balance           *balanceJSON    `json:"balance,omitempty"`
	Type              string          `json:"type"`
	Name              string          `json:"name"`
	Owner             string          `json:"owner"`
	AutoSync          bool            `json:"auto_sync"`
	SavePIN           bool            `json:"save_pin"`
	SupportedPayments json.RawMessage `json:"supported_payments"`
	IsJointlyManaged  bool            `json:"is_jointly_managed"`
	Status            statusJSON      `json:"status"`
}

type balanceJSON struct {
	Balance     json.RawMessage `json:"balance"`
	BalanceDate string          `json:"balance_date"`
	Status      statusJSON      `json:"status"`
}

type statusJSON struct {
	SyncedAt    string `json:"synced_at"`
	SucceededAt string `json:"succeeded_at"`
	Message     string `json:"message,omitempty"`
}

// listAccounts answers GET /rest/accounts.
func (s *Sandbox) listAccounts(w http.ResponseWriter, r *http.Request) {
	g, list := grantFrom(r), []accountJSON{}
	s.mu.Lock()
	for _, acc := range g.user.accesses {
		for _, a := range acc.accounts {
			list = append(list, s.describe(a, acc, g))
		}
	}
	s.mu.Unlock()
	writeJSON(w, http.StatusOK, map[string]any{"accounts": list})
}

// oneAccount answers GET /rest/accounts/{id}.
func (s *Sandbox) oneAccount(w http.ResponseWriter, r *http.Request) {
	if d, ok := s.described(r); ok {
		writeJSON(w, http.StatusOK, d)
		return
	}
	writeError(w, http.StatusNotFound, codeNotFound, "Not Found", nil)
}

// accountBalance answers GET /rest/accounts/{id}/balance.
func (s *Sandbox) accountBalance(w http.ResponseWriter, r *http.Request) {
	if d, ok := s.described(r); ok {
		writeJSON(w, http.StatusOK, d.Balance)
		return
	}
	writeError(w, http.StatusNotFound, codeNotFound, "Not Found", nil)
}

func (s *Sandbox) described(r *http.Request) (accountJSON, bool) {
	g := grantFrom(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	a, acc := g.user.account(r.PathValue("id"))
	if a == nil {
		return accountJSON{}, false
	}
	return s.describe(a, acc, g), true
}

// describe makes the account object. For holders of s.mu.
func (s *Sandbox) describe(a *account, acc *access, g bearerGrant) accountJSON {
	st := s.syncStatus(a, acc)
	d := accountJSON{
		AccountID: a.id, AccountNumber: a.number, BankCode: a.bank.Code, IBAN: a.iban, BIC: a.bank.BIC, AccessID: acc.id,
		BankName: a.bank.Name, Currency: a.currencySymbol, Type: a.kind, Name: a.kind, Owner: a.ownerName,
		AutoSync: acc.autoSync, SavePIN: acc.autoSync, SupportedPayments: json.RawMessage(`{}`), Status: st,
	}
	if a.kind == "Giro account" {
		d.SupportedPayments = json.RawMessage(`{"SEPA transfer":{"allowed_recipients":[],"can_be_recurring":false,"can_be_scheduled":false,"max_purpose_length":140,"supported_text_keys":[51,53]}}`)
	}
	if g.may("balance") {
		amount := oddAmounts[mix(a.key+5)%uint64(len(oddAmounts))].text
		d.Balance = &balanceJSON{Balance: json.RawMessage(amount), BalanceDate: st.SucceededAt, Status: st}
	}
	return d
}

// syncStatus says when the bank was last asked and when it last answered. The
// automatic sync goes on after the consent ended, but only fails. Every second
// account has the other of the two timestamp shapes.
func (s *Sandbox) syncStatus(a *account, acc *access) statusJSON {
	synced, message := acc.approvedAt, ""
	succeeded := synced
	if acc.autoSync {
		every := s.opts.SyncEvery
		synced = synced.Add(s.now().Sub(acc.approvedAt).Truncate(every))
		if succeeded = synced; !s.now().Before(acc.approvedAt.Add(s.opts.ConsentLifetime)) {
			succeeded = acc.approvedAt.Add((s.opts.ConsentLifetime - 1).Truncate(every))
			message = "The consent has expired."
		}
	}
	layout := millisLayout
	if a.ordinal%2 == 1 {
		layout = microsLayout
	}
	format := func(t time.Time) string { return t.Format(layout) }
	return statusJSON{SyncedAt: format(synced), SucceededAt: format(succeeded), Message: message}
}
