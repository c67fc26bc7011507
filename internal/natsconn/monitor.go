package natsconn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Syncing is when a server writes what it acknowledges to its disk.
type Syncing struct {
	Always   bool          // before it acknowledges
	Interval time.Duration // else, this often
}

// maxMonitor bounds an answer of the monitoring port.
const maxMonitor = 1 << 20

// AskMonitor asks a server's monitoring port (http_port of its configuration) at base,
// such as http://broker:8222, when it syncs. No user of an account is told that by
// the broker itself.
func AskMonitor(ctx context.Context, base string) (Syncing, error) {
	u, err := url.Parse(strings.TrimRight(base, "/") + "/jsz?config=true")
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return Syncing{}, errors.New("natsconn: asking the monitoring port: not of the form http://host:8222")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return Syncing{}, errors.New("natsconn: asking the monitoring port: not of the form http://host:8222")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return Syncing{}, fmt.Errorf("natsconn: asking the monitoring port: %w", err)
	}
	defer resp.Body.Close()
	var answer struct {
		Config *struct {
			Always   bool          `json:"sync_always"`
			Interval time.Duration `json:"sync_interval"`
		} `json:"config"`
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, maxMonitor)).Decode(&answer)
	if err != nil || answer.Config == nil || resp.StatusCode != http.StatusOK {
		return Syncing{}, fmt.Errorf("natsconn: asking the monitoring port: status %d, and not the answer of a NATS server with JetStream", resp.StatusCode)
	}
	return Syncing{Always: answer.Config.Always, Interval: answer.Config.Interval}, nil
}
