package finx

import (
	"bytes"
	"context"
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/finx-connector/finx-connector/internal/guard"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// Account is what the connector needs of a bank account; the rest goes on as Raw.
type Account struct {
	ID       string // opaque, never empty
	AccessID string // the bank connection it belongs to; may be empty
	// SyncedAt and SucceededAt are the times of the last sync and of the last one
	// that worked, as received; empty when absent. Their format varies.
	SyncedAt, SucceededAt string
	// StatusMessage is finX's text about the last sync. It may be personal: not
	// for logs.
	StatusMessage string
	Raw           []byte // the object byte for byte as received
}

// Accounts lists the accounts of a user. It is repeated within Config.RetryBudget;
// errors.Is with ErrUnauthorized: the access token has to be refreshed first. An
// empty list is no error: finX may not have fetched anything yet.
func (c *Client) Accounts(ctx context.Context, access secret.Text) ([]Account, error) {
	return askWhole(ctx, c, call{
		name: callAccounts, doing: "listing accounts", auth: asUser,
		method: http.MethodGet, path: c.cfg.Paths.Accounts, bearer: access, timeout: c.cfg.Timeouts.Accounts,
		priority: guard.Accounts, holds: memberAccounts,
	}, decodeAccounts)
}

// decodeAccounts reads {"accounts":[…]} or the bare array. One account that cannot
// be told apart fails them all: skipping it would lose its transactions silently.
func decodeAccounts(b []byte) ([]Account, error) {
	if err := checkUTF8(b); err != nil {
		return nil, err
	}
	var accounts []Account
	err := list(newDecoder(b), memberAccounts, func(v jsontext.Value) error {
		a, err := decodeAccount(v)
		if err != nil {
			return fmt.Errorf("account %d: %w", len(accounts), err)
		}
		accounts = append(accounts, a)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return accounts, nil
}

func decodeAccount(raw jsontext.Value) (Account, error) {
	a := Account{Raw: bytes.Clone(raw)}
	d := newDecoder(a.Raw)
	err := members(d, func(name string) error {
		if name == "status" && d.PeekKind() == '{' {
			return members(d, func(name string) error { return a.takeStatus(d, name) })
		}
		v, err := d.ReadValue()
		if err != nil {
			return err
		}
		switch name {
		case "account_id":
			a.ID, _ = text(v)
		case "access_id":
			a.AccessID, _ = text(v)
		}
		return nil
	})
	if err != nil {
		return Account{}, err
	}
	if a.ID == "" {
		return Account{}, fmt.Errorf("%w: no account_id", errShape)
	}
	return a, nil
}

func (a *Account) takeStatus(d *jsontext.Decoder, name string) error {
	v, err := d.ReadValue()
	if err != nil {
		return err
	}
	s, _ := text(v)
	switch name {
	case "synced_at":
		a.SyncedAt = s
	case "succeeded_at":
		a.SucceededAt = s
	case "message":
		a.StatusMessage = s
	}
	return nil
}
