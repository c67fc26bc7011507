package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// tokens is what finX answers to a code, and what is kept.
type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Type    string `json:"token_type"`
	Scope   string `json:"scope"`
	Expires int    `json:"expires_in"`
}

// exchange spends a code.
func (f *floor) exchange(ctx context.Context, code string) (tokens, error) {
	var t tokens
	body, err := json.Marshal(map[string]string{"grant_type": "authorization_code", "code": code, "redirect_uri": "https://app.example/callback"})
	if err != nil {
		return t, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, f.finx+"/auth/token", bytes.NewReader(body))
	if err != nil {
		return t, err
	}
	r.SetBasicAuth(f.id, f.secret)
	r.Header.Set("Content-Type", "application/json")
	return t, f.ask(r, &t)
}

// account is an account as it came, and its id.
type account struct {
	id  string
	raw jsontext.Value
}

func (f *floor) accounts(ctx context.Context, access string) ([]account, error) {
	resp, err := f.get(ctx, f.finx+"/rest/accounts", access)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var all []account
	err = eachOf(jsontext.NewDecoder(resp.Body), "accounts", func(v jsontext.Value) error {
		var named struct {
			ID string `json:"account_id"`
		}
		err := json.Unmarshal(v, &named)
		all = append(all, account{named.ID, v.Clone()})
		return err
	})
	return all, err
}

// secretPath is where a connection's tokens are kept.
func (f *floor) secretPath(kind, connectionID string) string {
	return f.vault + "/v1/secret/" + kind + "/finx/connections/" + connectionID
}

// putSecret writes with check-and-set. further members are the journal's.
func (f *floor) putSecret(ctx context.Context, connectionID string, version int, t tokens, further ...member) error {
	data := map[string]any{
		"access_token": t.Access, "refresh_token": t.Refresh, "token_type": t.Type, "scope": t.Scope,
		"access_expires_at": time.Now().UTC().Add(time.Duration(t.Expires) * time.Second),
	}
	for _, m := range further {
		data[m.name] = m.value
	}
	body, err := json.Marshal(map[string]any{"options": map[string]int{"cas": version}, "data": data})
	if err != nil {
		return err
	}
	return f.askVault(ctx, http.MethodPut, f.secretPath("data", connectionID), body, nil)
}

type member struct {
	name  string
	value any
}

// askVault makes a call of Vault; a nil out is not decoded into.
func (f *floor) askVault(ctx context.Context, method, target string, body []byte, out any) error {
	r, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("X-Vault-Token", f.token)
	return f.ask(r, out)
}

// ask sends r and decodes the answer. Nothing there (404) is an answer too.
func (f *floor) ask(r *http.Request, out any) error {
	resp, err := f.http.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 && resp.StatusCode != http.StatusNotFound {
		return fmt.Errorf("%s %s answers %s", r.Method, r.URL.Path, resp.Status)
	}
	if out == nil || len(raw) == 0 {
		return nil
	}
	return json.Unmarshal(raw, out)
}
