package finxtest

import "time"

// family is everything that one exchanged code led to. A revoked family is
// dead as a whole, which is what reuse detection needs.
type family struct {
	userID, scope string
	revoked       bool
	code          *codeEntry // that may be asked for again; nil once a token was used
}

// received notes that the client has the tokens it was given for its code.
func (f *family) received() {
	if f.code != nil {
		f.code.pair, f.code = nil, nil
	}
}

// codeEntry is an authorization code.
type codeEntry struct {
	userID, redirectURI string
	expires             time.Time
	family              *family // set by the exchange
	exchangedAt         time.Time
	pair                *pair // what the exchange answered; nil once it cannot be asked for again
}

// accessEntry is an access token.
type accessEntry struct {
	family  *family
	expires time.Time
	revoked bool
}

// refreshEntry is a refresh token. Only digests of tokens are kept, but for the
// pair that a rotated token still answers with during the grace window.
type refreshEntry struct {
	family    *family
	parent    *refreshEntry // the token this one replaced
	expires   time.Time
	rotatedAt time.Time // zero while the token is the newest
	pair      *pair     // what the rotation answered; nil once it cannot be asked for again
}

// pair is one answer of the token endpoint.
type pair struct {
	access, refresh string // refresh is empty without the scope offline
	accessExpires   time.Time
	scope           string
}

type tokenStore struct {
	codes   map[digest]*codeEntry
	access  map[digest]*accessEntry
	refresh map[digest]*refreshEntry
}

func newTokenStore() tokenStore {
	return tokenStore{map[digest]*codeEntry{}, map[digest]*accessEntry{}, map[digest]*refreshEntry{}}
}

// revokeFamily kills a family and reports whether it was alive. For holders of s.mu.
func (s *Sandbox) revokeFamily(f *family) bool {
	if f == nil || f.revoked {
		return false
	}
	f.revoked = true
	s.stats.FamiliesRevoked++
	return true
}

// newCode issues a code for a user. For holders of s.mu.
func (s *Sandbox) newCode(userID, redirectURI string) string {
	n := s.opts.CodeBytes
	if n == 0 {
		n = 240
	}
	code := jwtShaped(n)
	s.tokens.codes[digestOf(code)] = &codeEntry{userID: userID, redirectURI: redirectURI, expires: s.now().Add(s.opts.CodeLifetime)}
	s.stats.CodesIssued++
	return code
}

// newAccess issues an access token. For holders of s.mu.
func (s *Sandbox) newAccess(f *family) (token string, expires time.Time) {
	token, expires = opaque("A", lengthOr(s.opts.AccessTokenBytes)), s.now().Add(s.opts.AccessLifetime)
	s.tokens.access[digestOf(token)] = &accessEntry{family: f, expires: expires}
	return token, expires
}

// newRefresh issues a refresh token. For holders of s.mu.
func (s *Sandbox) newRefresh(f *family, parent *refreshEntry) string {
	token := opaque("R", lengthOr(s.opts.RefreshTokenBytes))
	s.tokens.refresh[digestOf(token)] = &refreshEntry{family: f, parent: parent, expires: s.now().Add(s.opts.RefreshLifetime)}
	return token
}

// lengthOr returns n, or the length of the tokens in the documents' samples.
func lengthOr(n int) int {
	if n == 0 {
		return 64
	}
	return n
}

// RevokeUser plays a user who withdraws the consent at the bank or at finX:
// every token of the user dies. It returns the number of families revoked.
func (s *Sandbox) RevokeUser(userID string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := 0
	for _, e := range s.tokens.access {
		if e.family.userID == userID && s.revokeFamily(e.family) {
			seen++
		}
	}
	return seen
}
