package finxtest

import (
	"encoding/json"
	"net/http"
)

func (s *Sandbox) revokeGet(w http.ResponseWriter, r *http.Request) {
	s.revoke(w, r.URL.Query().Get("token"))
}

func (s *Sandbox) revokePost(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Token string `json:"token"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		writeInvalid(w, fieldProblems{"token": {"Not a valid string."}})
		return
	}
	s.revoke(w, body.Token)
}

// revoke ends a token: an access token alone, a refresh token with all of its
// family. An unknown one is answered 200 as well (RFC 7009 §2.2).
func (s *Sandbox) revoke(w http.ResponseWriter, token string) {
	if token == "" {
		writeInvalid(w, fieldProblems{"token": {missing}})
		return
	}
	s.mu.Lock()
	if a, ok := s.tokens.access[digestOf(token)]; ok && !a.revoked && !a.family.revoked {
		a.revoked = true
		s.stats.Revocations++
	}
	if t, ok := s.tokens.refresh[digestOf(token)]; ok && s.revokeFamily(t.family) {
		s.stats.Revocations++
	}
	s.mu.Unlock()
	writeJSON(w, http.StatusOK, struct{}{})
}
