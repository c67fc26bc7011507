package events

import (
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// Limits of a connect request. Those on state are finX's own (1–1024); the
// others are set here so that no event can be made to carry a book.
const (
	MaxUserID       = 1024
	MaxRedirectURI  = 2048
	MaxState        = 1024
	MaxTrackingID   = 1024
	MaxLanguage     = 35 // the longest registered language tag
	MaxProviderID   = 128
	MaxAccounts     = 100
	MaxAccountID    = 64
	MaxAccountTypes = 50
	MaxAccountType  = 128
	MaxSyncPeriod   = 3650 // days
)

// ConnectRequested asks for a widget link for one user. The JSON names are
// finX's, and what was absent stays absent, so the struct can be sent on.
type ConnectRequested struct {
	RedirectURI         string       `json:"redirect_uri"`
	UserID              string       `json:"user_id"`
	State               string       `json:"state,omitempty"`
	TrackingID          string       `json:"tracking_id,omitempty"`
	Language            string       `json:"language,omitempty"`
	ProviderID          string       `json:"provider_id,omitempty"`
	Accounts            []AccountRef `json:"accounts,omitempty"`
	AccountTypes        []string     `json:"account_types,omitempty"`
	AllowMultiSelection *bool        `json:"allow_multi_selection,omitempty"`
	SyncPeriod          *int         `json:"sync_period,omitempty"` // days of history
	SaveSecrets         *bool        `json:"save_secrets,omitempty"`
}

// AccountRef preselects an account: an IBAN, account number or PAN.
type AccountRef struct {
	ID string `json:"id"`
}

// DecodeConnectRequested reads the data of a user.connect.requested. Whether
// the redirect_uri is one this installation allows is RedirectPolicy's affair.
func DecodeConnectRequested(e Envelope) (ConnectRequested, error) {
	f, err := openData(e, TypeConnectRequested)
	if err != nil {
		return ConnectRequested{}, err
	}
	c := ConnectRequested{
		RedirectURI: f.requiredText("redirect_uri", MaxRedirectURI),
	}
	if _, fe := parseRedirectURI(c.RedirectURI); fe != nil && f.err == nil {
		f.err = fe
	}
	c.UserID = f.requiredText("user_id", MaxUserID)
	c.State = f.text("state", MaxState)
	c.TrackingID = f.text("tracking_id", MaxTrackingID)
	c.Language = f.text("language", MaxLanguage)
	c.ProviderID = f.text("provider_id", MaxProviderID)
	c.Accounts = accountRefs(f)
	c.AccountTypes = accountTypes(f)
	c.AllowMultiSelection = f.boolean("allow_multi_selection")
	c.SyncPeriod = f.integer("sync_period", 1, MaxSyncPeriod)
	c.SaveSecrets = f.boolean("save_secrets")
	if f.err != nil {
		return ConnectRequested{}, refuse(fault.Malformed, e.Type, f.err)
	}
	return c, nil
}

func accountRefs(f *fields) []AccountRef {
	var refs []AccountRef
	for i, v := range f.array("accounts", MaxAccounts) {
		at := "accounts/" + strconv.Itoa(i)
		if v.Kind() != jsontext.KindBeginObject {
			f.failf(at, "must be an object, is %s", kindName(v.Kind()))
			return nil
		}
		obj, fe := parseObject(v, at)
		inner := fields{obj: obj, path: at + "/", err: fe}
		refs = append(refs, AccountRef{ID: inner.requiredText("id", MaxAccountID)})
		if inner.err != nil {
			f.err = inner.err
			return nil
		}
	}
	return refs
}

func accountTypes(f *fields) []string {
	var types []string
	for i, v := range f.array("account_types", MaxAccountTypes) {
		at := strconv.Itoa(i)
		inner := fields{obj: object{{at, v}}, path: "account_types/"}
		types = append(types, inner.requiredText(at, MaxAccountType))
		if inner.err != nil {
			f.err = inner.err
			return nil
		}
	}
	return types
}

// openData opens the data of e for reading as an event of type typ.
func openData(e Envelope, typ string) (*fields, error) {
	if e.Type != typ {
		return nil, refuse(fault.Malformed, typ, problem("type", "is not %s", typ))
	}
	obj, fe := parseObject(e.Data, "data")
	if fe != nil {
		return nil, refuse(fault.Malformed, typ, fe)
	}
	return &fields{obj: obj}, nil
}
