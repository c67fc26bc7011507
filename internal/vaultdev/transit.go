package vaultdev

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

const transitTimeout = 10 * time.Second

// TransitKey makes a key of that name in the Transit engine, which the server
// has mounted at transit. One that is there already is left alone.
func (p *Process) TransitKey(ctx context.Context, name string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.Addr+"/v1/transit/keys/"+name, http.NoBody)
	if err != nil {
		return fmt.Errorf("vaultdev: making a transit key: %w", err)
	}
	req.Header.Set("X-Vault-Token", p.Token)
	client := &http.Client{Timeout: transitTimeout}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("vaultdev: making a transit key: %w", err)
	}
	if err := resp.Body.Close(); err != nil {
		return fmt.Errorf("vaultdev: making a transit key: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("vaultdev: making a transit key: %s", resp.Status)
	}
	return nil
}
