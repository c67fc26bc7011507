package vaultstore

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/approle"
	"github.com/hashicorp/vault/api/auth/kubernetes"

	"github.com/finx-connector/finx-connector/internal/secret"
)

// loginMethod obtains a token. client carries none. dead is a token that is
// known to be refused, or "". Calls never overlap.
type loginMethod interface {
	login(ctx context.Context, client *api.Client, dead string) (*api.Secret, error)
}

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
		return "", fmt.Errorf("unwrapping the secret id: somebody else may have opened it, treat it as stolen: %w", inOurWords(err))
	}
	if err != nil {
		return "", fmt.Errorf("unwrapping the secret id: %w", inOurWords(err))
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

// kubernetesLogin logs in with the pod's service account token.
type kubernetesLogin struct{ mount, role, path string }

func newKubernetesLogin(c Config) (*kubernetesLogin, error) {
	if c.K8sRole == "" {
		return nil, errors.New("auth kubernetes needs a role")
	}
	const podToken = "/var/run/secrets/kubernetes.io/serviceaccount/token"
	return &kubernetesLogin{
		mount: cmp.Or(c.AuthMount, AuthKubernetes), role: c.K8sRole, path: cmp.Or(c.K8sJWTPath, podToken),
	}, nil
}

func (l *kubernetesLogin) login(ctx context.Context, client *api.Client, _ string) (*api.Secret, error) {
	// Read at every login: projected tokens are replaced within the hour, and the
	// helper of vault/api would keep the first one for ever.
	jwt, err := readSecretFile(l.path)
	if err != nil {
		return nil, fmt.Errorf("reading the service account token: %w", err)
	}
	method, err := kubernetes.NewKubernetesAuth(l.role, kubernetes.WithServiceAccountToken(jwt), kubernetes.WithMountPath(l.mount))
	if err != nil {
		return nil, err
	}
	return method.Login(ctx, client)
}

func readSecretFile(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	value := strings.TrimSpace(string(raw))
	if value == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return value, nil
}
