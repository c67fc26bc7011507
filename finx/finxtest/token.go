package finxtest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// tokenRequest is the JSON body of POST /auth/token.
type tokenRequest struct {
	GrantType    string `json:"grant_type"`
	Code         string `json:"code"`
	RedirectURI  string `json:"redirect_uri"`
	RefreshToken string `json:"refresh_token"`
}

// token answers POST /auth/token. Client authentication and errors have shapes
// of their own here, which is why it does not stand behind basic.
func (s *Sandbox) token(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		writeError(w, http.StatusMethodNotAllowed, codeUnprocessable, "Method Not Allowed", nil)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	if !s.clientOK(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="finX"`)
		s.writeTokenError(w, http.StatusUnauthorized, "invalid_client", codeInvalidClient, "Invalid client authorization.")
		return
	}
	var req tokenRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		s.writeTokenError(w, http.StatusBadRequest, "invalid_request", codeInvalidRequest, "Request body doesn't match input schema.")
		return
	}
	var p pair
	var ok bool
	switch {
	case req.GrantType == "authorization_code" && req.Code != "":
		p, ok = s.exchange(req)
	case req.GrantType == "refresh_token" && req.RefreshToken != "":
		p, ok = s.refresh(req.RefreshToken)
	case req.GrantType == "authorization_code" || req.GrantType == "refresh_token" || req.GrantType == "":
		s.writeTokenError(w, http.StatusBadRequest, "invalid_request", codeInvalidRequest, "Request body doesn't match input schema.")
		return
	default:
		s.writeTokenError(w, http.StatusBadRequest, "unsupported_grant_type", codeInvalidRequest, "Unsupported grant type.")
		return
	}
	if !ok {
		s.writeTokenError(w, http.StatusBadRequest, "invalid_grant", codeUnauthorized, "Invalid grant.")
		return
	}
	answer := map[string]any{
		"access_token": p.access, "token_type": "Bearer", "scope": p.scope,
		"expires_in": int(p.accessExpires.Sub(s.Now()).Round(time.Second).Seconds()),
	}
	if p.refresh != "" {
		answer["refresh_token"] = p.refresh
	}
	writeJSON(w, http.StatusOK, answer)
}

// writeTokenError answers in the shape that the options chose. In finX's shape
// data names the OAuth error, so that a bad grant can be told from a bad client.
func (s *Sandbox) writeTokenError(w http.ResponseWriter, status int, oauthError string, code int, description string) {
	if s.opts.TokenErrors == FinXErrors {
		writeError(w, status, code, description, fieldProblems{"grant": {oauthError}})
		return
	}
	writeJSON(w, status, map[string]string{"error": oauthError, "error_description": description})
}

// exchange trades a code for the first pair of a new family. A code that comes
// again takes all that it led to down with it (RFC 6749 §10.5).
func (s *Sandbox) exchange(req tokenRequest) (pair, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, known := s.tokens.codes[digestOf(req.Code)]
	switch {
	case !known:
		return pair{}, false
	case c.pair != nil && s.now().Before(c.exchangedAt.Add(s.opts.CodeGrace)):
		s.stats.GraceAnswers++
		return *c.pair, true
	case c.family != nil:
		s.stats.CodesReused++
		s.revokeFamily(c.family)
		return pair{}, false
	case !s.now().Before(c.expires):
		s.stats.CodesExpired++
		return pair{}, false
	case req.RedirectURI != "" && req.RedirectURI != c.redirectURI:
		return pair{}, false
	}
	c.family = &family{userID: c.userID, scope: s.opts.Scope}
	s.stats.CodesExchanged++
	p := pair{scope: c.family.scope}
	p.access, p.accessExpires = s.newAccess(c.family)
	if slices.Contains(strings.Fields(p.scope), "offline") {
		p.refresh = s.newRefresh(c.family, nil)
	}
	if s.opts.CodeGrace > 0 {
		c.pair, c.exchangedAt, c.family.code = &p, s.now(), c
	}
	return p, true
}

// refresh rotates a refresh token.
func (s *Sandbox) refresh(token string) (pair, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, known := s.tokens.refresh[digestOf(token)]
	if !known || e.family.revoked {
		return pair{}, false
	}
	if !e.rotatedAt.IsZero() {
		if e.pair != nil && s.now().Before(e.rotatedAt.Add(s.opts.Grace)) {
			s.stats.Refreshes++
			s.stats.GraceAnswers++
			return *e.pair, true
		}
		s.stats.RefreshesReused++
		if s.opts.RevokeOnReuse {
			s.revokeFamily(e.family)
		}
		return pair{}, false
	}
	if !s.now().Before(e.expires) {
		return pair{}, false
	}
	s.stats.Refreshes++
	e.family.received()
	p := pair{scope: e.family.scope}
	p.access, p.accessExpires = s.newAccess(e.family)
	if s.opts.KeepRefreshToken {
		e.expires = s.now().Add(s.opts.RefreshLifetime)
		return p, true
	}
	p.refresh = s.newRefresh(e.family, e)
	e.rotatedAt = s.now()
	if s.opts.Grace > 0 {
		e.pair = &p
	}
	if e.parent != nil {
		// Whoever uses this token has received it, so the one before has no
		// claim to grace any more.
		e.parent.pair, e.parent = nil, nil
	}
	s.stats.Rotations++
	return p, true
}
