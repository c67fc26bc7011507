package vaultstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/kubernetes"
)

// kubernetesLogin logs in with the pod's service account token.
type kubernetesLogin struct{ mount, role, path string }

func newKubernetesLogin(c Config) (*kubernetesLogin, error) {
	if c.K8sRole == "" {
		return nil, errors.New("auth kubernetes needs a role")
	}
	const podToken = "/var/run/secrets/kubernetes.io/serviceaccount/token" //nolint:gosec // a path, no secret
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
