package vaultstore

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/hashicorp/vault/api"
)

// loginMethod obtains a token. client carries none. dead is a token that is
// known to be refused, or "". Calls never overlap.
type loginMethod interface {
	login(ctx context.Context, client *api.Client, dead string) (*api.Secret, error)
}

func readSecretFile(path string) (string, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // the operator names the file in the settings
	if err != nil {
		return "", err
	}
	value := strings.TrimSpace(string(raw))
	if value == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return value, nil
}
