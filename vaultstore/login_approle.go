package vaultstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/approle"

	"github.com/finx-connector/finx-connector/internal/secret"
)

// appRoleLogin logs in with role id and secret id.
type appRoleLogin struct {
	mount, roleID string
	secretID      secret.Text
	file          string
	wrapped       bool

	wrapper   string      // the wrapping token opened last
	unwrapped secret.Text // what was in it
}

func newAppRoleLogin(c Config) (*appRoleLogin, error) {
	if c.RoleID == "" {
		return nil, errors.New("auth approle needs a role id")
	}
	if c.SecretID.IsZero() == (c.SecretIDFile == "") {
		return nil, errors.New("auth approle needs a secret id or a file of one, not both")
	}
	return &appRoleLogin{
		mount: cmp.Or(c.AuthMount, AuthAppRole), roleID: c.RoleID,
		secretID: c.SecretID, file: c.SecretIDFile, wrapped: c.SecretIDWrapped,
	}, nil
}

func (l *appRoleLogin) login(ctx context.Context, client *api.Client, _ string) (*api.Secret, error) {
	id, err := l.currentSecretID(ctx, client)
	if err != nil {
		return nil, err
	}
	method, err := approle.NewAppRoleAuth(l.roleID, &approle.SecretID{FromString: id}, approle.WithMountPath(l.mount))
	if err != nil {
		return nil, err
	}
	return method.Login(ctx, client)
}

func (l *appRoleLogin) currentSecretID(ctx context.Context, client *api.Client) (string, error) {
	id := l.secretID.Reveal()
	if l.file != "" {
		var err error
		if id, err = readSecretFile(l.file); err != nil {
			return "", fmt.Errorf("reading the secret id file: %w", err)
		}
	}
	if !l.wrapped {
		return id, nil
	}
	if id == l.wrapper { // it opens only once; what was in it serves every further login
		return l.unwrapped.Reveal(), nil
	}
	own, err := client.CloneWithHeaders() // unwrapping leaves the wrapping token on its client
	if err != nil {
		return "", err
	}
	inside, err := own.Logical().UnwrapWithContext(ctx, id)
	if re, ok := errors.AsType[*api.ResponseError](err); ok && re.StatusCode == http.StatusBadRequest {
		return "", fmt.Errorf("unwrapping the secret id: somebody else may have opened it, treat it as stolen: %w", inOurWords(wireOf(ctx), err))
	}
	if err != nil {
		return "", fmt.Errorf("unwrapping the secret id: %w", inOurWords(wireOf(ctx), err))
	}
	if inside == nil {
		return "", errors.New("unwrapping the secret id: nothing inside")
	}
	value, ok := inside.Data["secret_id"].(string)
	if !ok || value == "" {
		return "", errors.New("unwrapping the secret id: no secret_id inside")
	}
	l.wrapper, l.unwrapped = id, secret.New(value)
	return value, nil
}
