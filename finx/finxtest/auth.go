package finxtest

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// clientOK compares HTTP Basic with the client's credentials.
func (s *Sandbox) clientOK(r *http.Request) bool {
	id, pass, ok := r.BasicAuth()
	idOK := subtle.ConstantTimeCompare([]byte(id), []byte(s.opts.ClientID))
	passOK := subtle.ConstantTimeCompare([]byte(pass), []byte(s.opts.ClientSecret))
	return ok && idOK&passOK == 1
}

// basic lets only the client in.
func (s *Sandbox) basic(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !languageOK(r) {
			writeError(w, http.StatusNotAcceptable, codeInvalidRequest, "Unsupported language.", nil)
			return
		}
		if !s.clientOK(r) {
			w.Header().Set("WWW-Authenticate", `Basic realm="finX"`)
			writeError(w, http.StatusUnauthorized, codeInvalidClient, "Invalid client authorization.", nil)
			return
		}
		next(w, r)
	}
}

// bearerKey is the context key of what the shown token stands for.
type bearerKey struct{}

// bearerGrant is what an access token stands for.
type bearerGrant struct {
	user  *user
	scope []string
}

func (g bearerGrant) may(resource string) bool {
	return slices.Contains(g.scope, resource+"=ro") || slices.Contains(g.scope, resource+"=rw")
}

func grantFrom(r *http.Request) bearerGrant { return r.Context().Value(bearerKey{}).(bearerGrant) }

// bearer lets in who shows a living access token whose scope has the resource.
func (s *Sandbox) bearer(resource string, next http.HandlerFunc) http.HandlerFunc {
	refuse := func(w http.ResponseWriter, oauthError, description string) {
		challenge := `Bearer realm="finX"`
		if oauthError != "" {
			challenge += fmt.Sprintf(`, error=%q, error_description=%q`, oauthError, description)
		}
		w.Header().Set("WWW-Authenticate", challenge)
		writeError(w, http.StatusUnauthorized, codeUnauthorized, "Unauthorized", nil)
	}
	return func(w http.ResponseWriter, r *http.Request) {
		if !languageOK(r) {
			writeError(w, http.StatusNotAcceptable, codeInvalidRequest, "Unsupported language.", nil)
			return
		}
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") || token == "" {
			refuse(w, "", "")
			return
		}
		g, why := s.lookupBearer(token)
		if why != "" {
			refuse(w, "invalid_token", why)
			return
		}
		if !g.may(resource) {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="finX", error="insufficient_scope", scope=%q`, resource+"=ro"))
			writeError(w, http.StatusForbidden, codeForbidden, "Forbidden", nil)
			return
		}
		if !s.enter(g.user) {
			writeError(w, http.StatusLocked, codeBusy, "Resource busy.", nil)
			return
		}
		defer s.leave(g.user)
		next(w, r.WithContext(context.WithValue(r.Context(), bearerKey{}, g)))
	}
}

// lookupBearer returns the grant of an access token, or why there is none.
func (s *Sandbox) lookupBearer(token string) (g bearerGrant, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.tokens.access[digestOf(token)]
	switch {
	case !ok:
		return g, "The access token is unknown"
	case t.revoked || t.family.revoked:
		return g, "The access token was revoked"
	case !s.now().Before(t.expires):
		return g, "The access token expired"
	}
	t.family.received()
	return bearerGrant{user: s.userOf(t.family.userID), scope: strings.Fields(t.family.scope)}, ""
}

// languageOK follows the SDKs: an Accept-Language without any language that
// finX speaks is answered 406.
func languageOK(r *http.Request) bool {
	header := r.Header.Get("Accept-Language")
	if header == "" {
		return true
	}
	for part := range strings.SplitSeq(header, ",") {
		tag, _, _ := strings.Cut(strings.TrimSpace(part), ";")
		primary, _, _ := strings.Cut(strings.ToLower(tag), "-")
		if primary == "*" || slices.Contains(languages[:], primary) {
			return true
		}
	}
	return false
}
