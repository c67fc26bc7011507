package custody

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// answer is what finX handed out for one value, with all that is needed to
// store it later. As a value it is as secret as a token.
type answer struct {
	kind     string
	id       string
	sha256   string // of the code or refresh token that was spent
	holder   string
	rotation int    // of the record when it was spent
	base     string // its CodeSHA256
	tokens   finx.Tokens
}

func answerOf(s spend, holder string, t finx.Tokens) answer {
	return answer{kind: s.kind, id: s.id, sha256: s.sha256, holder: holder, rotation: s.rotation, base: s.base, tokens: t}
}

// sealedLayout numbers the form of the two types below. What is in escrow may be
// opened by a newer release.
const sealedLayout = 1

// sealedAnswer is the line of JSON that what is kept begins with. Behind its
// newline comes the box: AES-256-GCM with its nonce in front, as bytes, because
// the whole must fit into one message. The key under which it is kept is
// authenticated with it, so that a copy under another connection's key does not open.
type sealedAnswer struct {
	Layout int    `json:"v"`
	Key    string `json:"key"` // wrapped data key
}

// boxed is what is inside. Bytes, because a token need not be UTF-8.
type boxed struct {
	Kind         string        `json:"kind"`
	Holder       string        `json:"holder"`
	Rotation     int           `json:"rotation"`
	Base         string        `json:"base,omitempty"`
	AccessToken  []byte        `json:"access_token"`
	RefreshToken []byte        `json:"refresh_token,omitempty"`
	TokenType    string        `json:"token_type,omitempty"`
	Scope        string        `json:"scope,omitempty"`
	ExpiresIn    time.Duration `json:"expires_in"` // nanoseconds
	ReceivedAt   time.Time     `json:"received_at"`
}

// seal is one of the places where tokens leave their wrapping.
func (k *sealingKey) seal(key string, a answer) ([]byte, error) {
	plain, err := json.Marshal(boxed{
		Kind: a.kind, Holder: a.holder, Rotation: a.rotation, Base: a.base,
		AccessToken: []byte(a.tokens.AccessToken.Reveal()), RefreshToken: []byte(a.tokens.RefreshToken.Reveal()),
		TokenType: a.tokens.TokenType, Scope: a.tokens.Scope, ExpiresIn: a.tokens.ExpiresIn, ReceivedAt: a.tokens.ReceivedAt.UTC(),
	})
	if err != nil {
		return nil, fmt.Errorf("custody: sealing an answer: %w", err)
	}
	box := k.aead.Seal(nil, nil, plain, authenticated(key)) //nolint:gosec // this cipher draws its nonce itself and takes none
	line, err := json.Marshal(sealedAnswer{Layout: sealedLayout, Key: k.wrapped})
	return append(append(line, '\n'), box...), err
}

func authenticated(key string) []byte { return []byte("finx-connector escrow 1 " + key) }

// newAEAD makes the cipher of a data key.
func newAEAD(plain []byte) (cipher.AEAD, error) {
	if len(plain) != keyBytes {
		return nil, fault.Permanent(fault.Rejected, fmt.Errorf("custody: a data key of %d bytes instead of %d", len(plain), keyBytes))
	}
	block, err := aes.NewCipher(plain)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// parseSealed takes apart what is kept.
func parseSealed(raw []byte) (outer sealedAnswer, box []byte, err error) {
	line, box, _ := bytes.Cut(raw, []byte{'\n'})
	if err := json.Unmarshal(line, &outer); err != nil {
		return outer, nil, unopenable(errors.New("it is no sealed answer"))
	}
	if outer.Layout > sealedLayout {
		return outer, nil, unopenable(fmt.Errorf("%w: version %d, the highest that is read is %d", errNewer, outer.Layout, sealedLayout))
	}
	return outer, box, nil
}

// unseal opens what was kept under key.
func unseal(aead cipher.AEAD, key string, box []byte) (answer, error) {
	plain, err := aead.Open(nil, nil, box, authenticated(key))
	if err != nil {
		return answer{}, unopenable(errors.New("it is not what was sealed under this key"))
	}
	var in boxed
	if err := json.Unmarshal(plain, &in); err != nil {
		return answer{}, unopenable(errors.New("it does not hold an answer")) // err would quote it
	}
	id, sha256 := connectionOf(key)
	return answer{
		kind: in.Kind, id: id, sha256: sha256, holder: in.Holder, rotation: in.Rotation, base: in.Base,
		tokens: finx.Tokens{
			AccessToken: secret.New(string(in.AccessToken)), RefreshToken: secret.New(string(in.RefreshToken)),
			TokenType: in.TokenType, Scope: in.Scope, ExpiresIn: in.ExpiresIn, ReceivedAt: in.ReceivedAt,
		},
	}, nil
}

// errNewer is an answer that a newer program sealed. It is there, and its value is not
// to be spent again: it waits for a replica that has been upgraded.
var errNewer = errors.New("a newer version of the program sealed it")

// unopenable says that trying again will not help.
func unopenable(err error) error {
	return fault.Permanent(fault.Rejected, fmt.Errorf("custody: opening an answer in escrow: %w", err))
}
