package vaultstore

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// ErrTooLarge reports a record above the limit. Repeating the call cannot help.
var ErrTooLarge = errors.New("record is too large")

// Version numbers the states of one secret from 1. Zero means that it does not
// exist.
type Version int

// Record is what is kept for a connection. The zero value of a field means
// absent and is not stored.
type Record struct {
	AccessToken, RefreshToken secret.Text
	TokenType, Scope          string
	AccessExpiresAt           time.Time // stored to the nanosecond, in UTC
	RefreshObtainedAt         time.Time // the refresh token lives 90 days from here
	Rotation                  int       // how often the refresh token was replaced
	CodeSHA256                string    // of the code that was exchanged
	Pending                   *Pending  // nil when no spending call is open
	// Earlier holds marks of other values that Pending would have overwritten and
	// whose end is not known, or known to be unknown; the newest first.
	Earlier []Pending

	// extra holds members this program does not know, as they were read, so that an
	// older replica does not drop what a newer one wrote.
	extra map[string]json.RawMessage
}

// Pending is the rotation journal: it is written before a call that spends a
// code or a refresh token, and removed by the write that stores the answer. It
// stays, with its outcome, when finX refused for good.
type Pending struct {
	Kind      string    `json:"kind"`       // "exchange" or "refresh"
	Holder    string    `json:"holder"`     // the process that makes the call
	StartedAt time.Time `json:"started_at"` //
	Attempt   int       `json:"attempt"`    // from 1
	SHA256    string    `json:"sha256"`     // of the code or token being spent
	// Outcome is empty while the call is open, else "rejected" or "unknown": the
	// value is of no use any more and must not be sent again.
	Outcome string `json:"outcome,omitempty"`
}

const (
	layoutVersion  = 1
	encodingBase64 = "base64"
)

// stored is the JSON kept in Vault. The names are part of the contract.
type stored struct {
	Layout            int       `json:"v"`
	WriteID           string    `json:"write_id"`
	Encoding          string    `json:"encoding,omitempty"` // of both tokens: "" or "base64"
	AccessToken       string    `json:"access_token,omitempty"`
	RefreshToken      string    `json:"refresh_token,omitempty"`
	TokenType         string    `json:"token_type,omitempty"`
	Scope             string    `json:"scope,omitempty"`
	AccessExpiresAt   time.Time `json:"access_expires_at,omitzero"`
	RefreshObtainedAt time.Time `json:"refresh_obtained_at,omitzero"`
	Rotation          int       `json:"rotation"`
	CodeSHA256        string    `json:"code_sha256,omitempty"`
	Pending           *Pending  `json:"pending,omitempty"`
	Earlier           []Pending `json:"earlier,omitempty"`

	extra map[string]json.RawMessage
}

// UnmarshalJSON keeps the members that are not known. Of a newer layout it takes the
// version only: the rest may not fit.
func (d *stored) UnmarshalJSON(raw []byte) error {
	var head struct {
		Layout int `json:"v"`
	}
	if json.Unmarshal(raw, &head) == nil && head.Layout > layoutVersion {
		*d = stored{Layout: head.Layout}
		return nil
	}
	type plain stored
	if err := json.Unmarshal(raw, (*plain)(d)); err != nil {
		return err
	}
	all := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &all); err != nil {
		return err
	}
	for f := range reflect.TypeFor[stored]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		delete(all, name)
	}
	d.extra = nil
	if len(all) > 0 {
		d.extra = all
	}
	return nil
}

// marshal returns d as JSON, with the members that are not known.
func (d stored) marshal() ([]byte, error) {
	known, err := json.Marshal(d)
	if err != nil || len(d.extra) == 0 {
		return known, err
	}
	extra, err := json.Marshal(d.extra)
	if err != nil {
		return nil, err
	}
	return append(append(known[:len(known)-1], ','), extra[1:]...), nil // both are objects with members
}

// errNewer is a record that a newer program wrote.
var errNewer = errors.New("a newer version of the program wrote it")

// encode returns the body of a check-and-set write. It is one of the two places
// where tokens leave their wrapping.
func encode(r Record, cas Version, writeID string, limit int) ([]byte, error) {
	data := stored{
		Layout: layoutVersion, WriteID: writeID,
		AccessToken: r.AccessToken.Reveal(), RefreshToken: r.RefreshToken.Reveal(),
		TokenType: r.TokenType, Scope: r.Scope,
		AccessExpiresAt: r.AccessExpiresAt.UTC(), RefreshObtainedAt: r.RefreshObtainedAt.UTC(),
		Rotation: r.Rotation, CodeSHA256: r.CodeSHA256, Pending: r.Pending, Earlier: r.Earlier,
		extra: r.extra,
	}
	// JSON would silently replace what is not UTF-8 and blow what it escapes up to
	// six times its size. A token is stored as it came, however odd it is: refusing it
	// would send a human back to the bank.
	if !isPlain(data.AccessToken) || !isPlain(data.RefreshToken) {
		data.Encoding = encodingBase64
		data.AccessToken = base64.StdEncoding.EncodeToString([]byte(data.AccessToken))
		data.RefreshToken = base64.StdEncoding.EncodeToString([]byte(data.RefreshToken))
	}
	raw, err := data.marshal()
	if err != nil {
		return nil, fault.Permanent(fault.Malformed, fmt.Errorf("encoding the record: %w", err))
	}
	if len(raw) > limit {
		return nil, fault.Permanent(fault.Oversize, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, len(raw), limit))
	}
	return json.Marshal(map[string]any{
		"options": map[string]any{"cas": cas},
		"data":    json.RawMessage(raw),
	})
}

func (d stored) record() (Record, error) {
	if d.Layout > layoutVersion {
		return Record{}, fmt.Errorf("%w: version %d, the highest that is read is %d", errNewer, d.Layout, layoutVersion)
	}
	switch d.Encoding {
	case "":
	case encodingBase64:
		var err error
		if d.AccessToken, err = decodeToken(d.AccessToken); err != nil {
			return Record{}, err
		}
		if d.RefreshToken, err = decodeToken(d.RefreshToken); err != nil {
			return Record{}, err
		}
	default:
		return Record{}, errors.New("unknown encoding of the tokens")
	}
	return Record{
		AccessToken: secret.New(d.AccessToken), RefreshToken: secret.New(d.RefreshToken),
		TokenType: d.TokenType, Scope: d.Scope,
		AccessExpiresAt: d.AccessExpiresAt, RefreshObtainedAt: d.RefreshObtainedAt,
		Rotation: d.Rotation, CodeSHA256: d.CodeSHA256, Pending: d.Pending, Earlier: d.Earlier,
		extra: d.extra,
	}, nil
}

func decodeToken(s string) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return "", errors.New("a token is not the base64 it claims to be") // err would quote it
	}
	return string(raw), nil
}

// isPlain reports whether s survives JSON unchanged and unswollen. Vault encodes
// once more before it stores, with every escape of encoding/json.
func isPlain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' || r == 0x7f || strings.ContainsRune(`"\&<>`, r)
	})
}
