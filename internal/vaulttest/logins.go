package vaulttest

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// AppRole is a role of the AppRole method.
type AppRole struct {
	Mount, RoleID string

	server *Server
	name   string
}

// AppRole mounts the method afresh and makes a role with the given fields
// ("token_policies", "token_ttl", "token_max_ttl", …).
func (s *Server) AppRole(t testing.TB, fields map[string]any) *AppRole {
	t.Helper()
	r := &AppRole{Mount: s.authMount(t, "approle"), server: s, name: "connector"}
	path := "auth/" + r.Mount + "/role/" + r.name
	s.Call(t, http.MethodPost, path, fields)
	r.RoleID = text(t, Data(t, s.Call(t, http.MethodGet, path+"/role-id", nil), "data"), "role_id")
	return r
}

// SecretID makes a secret id.
func (r *AppRole) SecretID(t testing.TB) string {
	t.Helper()
	answer := r.server.Call(t, http.MethodPost, "auth/"+r.Mount+"/role/"+r.name+"/secret-id", map[string]any{})
	return text(t, Data(t, answer, "data"), "secret_id")
}

// Wrap returns a one-use wrapping token around a value, such as
// {"secret_id": "…"}.
func (s *Server) Wrap(t testing.TB, value map[string]any) string {
	t.Helper()
	answer := s.Call(t, http.MethodPost, "sys/wrapping/wrap", value)
	return text(t, Data(t, answer, "wrap_info"), "token")
}

func (s *Server) authMount(t testing.TB, method string) string {
	t.Helper()
	path := Name(method)
	s.Call(t, http.MethodPost, "sys/auth/"+path, map[string]any{"type": method})
	t.Cleanup(func() { s.discard("sys/auth/" + path) })
	return path
}

// Kubernetes is the Kubernetes auth method behind a stand-in for the API
// server, which reviews exactly the tokens made with JWT.
type Kubernetes struct {
	Mount, Role string

	mu    sync.Mutex
	valid map[string]bool
	seen  []string
}

// Kubernetes mounts the method afresh with a role for the service account
// finx/connector and the given further fields.
func (s *Server) Kubernetes(t testing.TB, fields map[string]any) *Kubernetes {
	t.Helper()
	k := &Kubernetes{Mount: s.authMount(t, "kubernetes"), Role: "connector", valid: map[string]bool{}}
	api := httptest.NewTLSServer(http.HandlerFunc(k.review))
	t.Cleanup(api.Close)
	s.Call(t, http.MethodPost, "auth/"+k.Mount+"/config", map[string]any{
		"kubernetes_host":      api.URL,
		"kubernetes_ca_cert":   string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw})),
		"token_reviewer_jwt":   k.JWT("reviewer"),
		"disable_local_ca_jwt": true,
	})
	role := map[string]any{"bound_service_account_names": "connector", "bound_service_account_namespaces": "finx"}
	maps.Copy(role, fields)
	s.Call(t, http.MethodPost, "auth/"+k.Mount+"/role/"+k.Role, role)
	return k
}

// JWT returns a new service account token with the given id, and makes it
// valid. It is unsigned rubbish in the last part: the API server reviews it.
func (k *Kubernetes) JWT(id string) string {
	part := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			panic(err) // maps of strings always encode
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	token := part(map[string]string{"alg": "RS256", "typ": "JWT"}) + "." + part(map[string]any{
		"iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:finx:connector", "jti": id,
		"kubernetes.io/serviceaccount/namespace":            "finx",
		"kubernetes.io/serviceaccount/service-account.name": "connector",
		"kubernetes.io/serviceaccount/service-account.uid":  "7f2a-uid",
		"kubernetes.io/serviceaccount/secret.name":          "connector-token",
	}) + "." + base64.RawURLEncoding.EncodeToString([]byte("unsigned"))
	k.mu.Lock()
	defer k.mu.Unlock()
	k.valid[token] = true
	return token
}

// Expire makes a token invalid.
func (k *Kubernetes) Expire(token string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.valid, token)
}

// Reviewed returns the tokens reviewed so far, oldest first.
func (k *Kubernetes) Reviewed() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]string(nil), k.seen...)
}

func (k *Kubernetes) review(w http.ResponseWriter, r *http.Request) {
	var review struct {
		Spec struct {
			Token string `json:"token"`
		} `json:"spec"`
	}
	if r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" || json.NewDecoder(r.Body).Decode(&review) != nil {
		http.NotFound(w, r)
		return
	}
	k.mu.Lock()
	k.seen = append(k.seen, review.Spec.Token)
	ok := k.valid[review.Spec.Token]
	k.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
		"status": map[string]any{
			"authenticated": ok,
			"user":          map[string]any{"username": "system:serviceaccount:finx:connector", "uid": "7f2a-uid"},
		},
	})
}
