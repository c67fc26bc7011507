package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/finx-connector/finx-connector/internal/vaultdev"
)

// kvStub answers what the connector asks of a Vault whose mount "secret" is a
// KV v2 engine with max_versions=1, as deploy/README.md advises: data with
// check-and-set, metadata, destruction. It keeps everything in memory and looks
// at no token, so that on two cores the cost of a real Vault does not hide the
// difference between those who call it.
type kvStub struct {
	calls counter

	mu      sync.Mutex
	secrets map[string]*kvSecret
}

type kvSecret struct {
	data    json.RawMessage
	version int
}

const (
	kvMount  = "secret"
	kvPrefix = "finx"
)

// ServeHTTP answers one call.
func (v *kvStub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	below, inMount := strings.CutPrefix(path, kvMount+"/")
	kind, name, _ := strings.Cut(below, "/")
	if inMount {
		v.calls.add(r.Method + " " + kind)
	} else {
		v.calls.add(r.Method + " " + path)
	}
	switch {
	case inMount:
		v.serveMount(w, r, kind, name)
	case path == "auth/token/lookup-self":
		reply(w, http.StatusOK, map[string]any{"data": map[string]any{"ttl": 0, "renewable": false}})
	case path == "sys/internal/ui/mounts/"+kvMount:
		reply(w, http.StatusOK, map[string]any{"data": map[string]any{"type": "kv", "options": map[string]string{"version": "2"}}})
	case path == "sys/capabilities-self":
		v.capabilities(w, r)
	default:
		nothing(w)
	}
}

// serveMount answers a call below the mount.
func (v *kvStub) serveMount(w http.ResponseWriter, r *http.Request, kind, name string) {
	isRead := r.Method == http.MethodGet
	switch {
	case kind == "config":
		reply(w, http.StatusOK, map[string]any{"data": map[string]any{"max_versions": 1}})
	case kind == "data" && isRead:
		v.read(w, name)
	case kind == "data":
		v.write(w, r, name)
	case kind == "metadata" && isRead:
		v.metadata(w, name) // of a folder, whose list is asked for at a start, there is nothing
	case kind == "metadata", kind == "destroy":
		w.WriteHeader(http.StatusNoContent)
	default:
		nothing(w)
	}
}

// nothing says that there is nothing at a path.
func nothing(w http.ResponseWriter) {
	reply(w, http.StatusNotFound, map[string]any{"errors": []string{}})
}

func (v *kvStub) capabilities(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Paths []string `json:"paths"`
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		reply(w, http.StatusBadRequest, map[string]any{"errors": []string{"no paths"}})
		return
	}
	granted := map[string][]string{}
	for _, path := range asked.Paths {
		granted[path] = []string{"root"}
	}
	reply(w, http.StatusOK, map[string]any{"data": granted})
}

func (v *kvStub) read(w http.ResponseWriter, name string) {
	v.mu.Lock()
	s, ok := v.secrets[name]
	var data json.RawMessage
	version := 0
	if ok {
		data, version = s.data, s.version
	}
	v.mu.Unlock()
	if !ok {
		nothing(w)
		return
	}
	reply(w, http.StatusOK, map[string]any{"data": map[string]any{"data": data, "metadata": map[string]any{"version": version, "destroyed": false}}})
}

func (v *kvStub) write(w http.ResponseWriter, r *http.Request, name string) {
	var body struct {
		Options struct {
			CAS *int `json:"cas"`
		} `json:"options"`
		Data json.RawMessage `json:"data"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Options.CAS == nil {
		reply(w, http.StatusBadRequest, map[string]any{"errors": []string{"check-and-set parameter required for this call"}})
		return
	}
	v.mu.Lock()
	s, ok := v.secrets[name]
	if !ok {
		s = &kvSecret{}
	}
	matches := s.version == *body.Options.CAS
	if matches {
		s.version++
		s.data = body.Data
		if v.secrets == nil {
			v.secrets = map[string]*kvSecret{}
		}
		v.secrets[name] = s
	}
	version := s.version
	v.mu.Unlock()
	if !matches {
		reply(w, http.StatusBadRequest, map[string]any{"errors": []string{"check-and-set parameter did not match the current version"}})
		return
	}
	reply(w, http.StatusOK, map[string]any{"data": map[string]any{"version": version, "destroyed": false}})
}

func (v *kvStub) metadata(w http.ResponseWriter, name string) {
	v.mu.Lock()
	s, ok := v.secrets[name]
	version := 0
	if ok {
		version = s.version
	}
	v.mu.Unlock()
	if !ok {
		nothing(w)
		return
	}
	reply(w, http.StatusOK, map[string]any{"data": map[string]any{
		"current_version": version, "max_versions": 0,
		"versions": map[int]any{version: map[string]any{"destroyed": false}},
	}})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) //nolint:errchkjson // what fails is a caller that has gone
}

// startVault starts the real Vault core with raft storage and an empty store.
func (h *harness) startVault(ctx context.Context, dir string) (*vaultdev.Process, error) {
	here, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	root, err := vaultdev.Root(here)
	if err != nil {
		return nil, err
	}
	binary, err := vaultdev.Binary(ctx, root, h.progress)
	if err != nil {
		return nil, err
	}
	proc, err := vaultdev.Start(ctx, binary, "-listen", "127.0.0.1:0", "-storage", "raft", "-path", filepath.Join(dir, "vault"))
	if err != nil {
		return nil, err
	}
	vault := vaultAPI{addr: proc.Addr, token: proc.Token}
	if _, err := vault.call(ctx, http.MethodPost, kvMount+"/config", `{"max_versions":1}`); err != nil {
		return nil, errors.Join(err, proc.Stop())
	}
	return proc, nil
}

// vaultAPI asks a Vault, stub or real, for what the harness wants to know.
type vaultAPI struct{ addr, token string }

// call returns the body of an answer.
func (v vaultAPI) call(ctx context.Context, method, path, body string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, vaultWithin)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, v.addr+"/v1/"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("X-Vault-Token", v.token)
	resp, err := (&http.Client{}).Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var a answer
	if _, err := a.body.ReadFrom(resp.Body); err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("vault answers %s %s with %s", method, path, resp.Status)
	}
	return a.body.Bytes(), nil
}

const vaultWithin = 30 * time.Second
