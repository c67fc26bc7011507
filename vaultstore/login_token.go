package vaultstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/hashicorp/vault/api"

	"github.com/finx-connector/finx-connector/internal/secret"
)

// tokenLogin uses a token somebody else obtained: from the settings or from a
// file which, for example, Vault's agent keeps fresh.
type tokenLogin struct {
	token secret.Text
	file  string
}

func newTokenLogin(c Config) (*tokenLogin, error) {
	l := &tokenLogin{token: c.Token, file: c.TokenFile}
	if l.token.IsZero() && l.file == "" {
		l.token = secret.New(os.Getenv(api.EnvVaultToken))
	}
	if l.token.IsZero() && l.file == "" {
		return nil, errors.New("auth token needs a token or a token file")
	}
	return l, nil
}

func (l *tokenLogin) login(ctx context.Context, client *api.Client, dead string) (*api.Secret, error) {
	token := l.token.Reveal()
	if l.file != "" {
		var err error
		if token, err = readSecretFile(l.file); err != nil {
			return nil, fmt.Errorf("reading the token file: %w", err)
		}
	}
	if token == dead {
		return nil, errors.New("the token is expired or revoked and there is no other")
	}
	own, err := client.CloneWithHeaders()
	if err != nil {
		return nil, err
	}
	own.SetToken(token)
	auth := &api.SecretAuth{ClientToken: token}
	self, err := own.Auth().Token().LookupSelfWithContext(ctx)
	if re, ok := errors.AsType[*api.ResponseError](err); ok && re.StatusCode == http.StatusForbidden {
		// Dead, or not allowed to look at itself: the next call will tell.
		return &api.Secret{Auth: auth}, nil
	}
	if err != nil {
		return nil, err
	}
	// LifetimeWatcher takes the secret of a login, not of a look-up: vault#12928.
	if auth.Renewable, err = self.TokenIsRenewable(); err != nil {
		return nil, err
	}
	if ttl, ok := self.Data["ttl"].(json.Number); ok {
		seconds, err := ttl.Int64()
		if err != nil {
			return nil, fmt.Errorf("reading the token's ttl: %w", err)
		}
		auth.LeaseDuration = int(seconds)
	}
	return &api.Secret{Auth: auth}, nil
}
