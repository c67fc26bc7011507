package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// caller speaks plain HTTP with the server, as curl would.
type caller struct {
	addr, token string
	http        *http.Client
}

// call sends body as JSON and decodes the answer into out; either may be nil.
// The status is returned with the error, because sys/health speaks in statuses.
func (c *caller) call(ctx context.Context, method, path string, body, out any) (status int, err error) {
	var payload bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&payload).Encode(body); err != nil {
			return 0, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.addr+"/v1/"+path, &payload)
	if err != nil {
		return 0, err
	}
	req.Header.Set("X-Vault-Token", c.token)
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var answer bytes.Buffer
	if _, err := answer.ReadFrom(resp.Body); err != nil {
		return resp.StatusCode, err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return resp.StatusCode, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(answer.Bytes()))
	}
	if out == nil || answer.Len() == 0 {
		return resp.StatusCode, nil
	}
	return resp.StatusCode, json.Unmarshal(answer.Bytes(), out)
}
