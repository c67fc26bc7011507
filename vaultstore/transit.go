package vaultstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// Errors of DataKey and OpenKey, found with errors.Is. Both carry the verdict
// give up: the same call fails until an operator has done something.
var (
	// ErrNoTransit: no transit key is configured, there is none of that name, it
	// cannot seal, or the policies do not let us use it.
	ErrNoTransit = errors.New("no transit key to seal with")
	// ErrCannotOpen: the key of that name is there, but the wrapped key is not of
	// its making, was changed, or is of a version that is retired.
	ErrCannotOpen = errors.New("the wrapped key does not open")
)

const (
	dataKeyBytes = 32
	// maxWrappedBytes is far above a data key wrapped by the largest RSA key.
	maxWrappedBytes = 4 << 10
	wrappedPrefix   = "vault:v" // then the version of the transit key, a colon and base64
)

// transit is the key of Vault's transit engine that wraps our data keys. An
// empty key means that there is none.
type transit struct{ mount, key string }

func newTransit(mount, key string) (transit, error) {
	if key == "" {
		return transit{}, nil
	}
	t := transit{mount: strings.Trim(mount, "/"), key: key}
	if err := checkSegments("transit mount", t.mount); err != nil {
		return transit{}, err
	}
	if err := checkSegments("transit key", t.key); err != nil {
		return transit{}, err
	}
	if strings.Contains(t.key, "/") {
		return transit{}, fmt.Errorf("vaultstore: checking the configuration: transit key %q: want one name, not a path", t.key)
	}
	return t, nil
}

func (t transit) dataKey() string { return t.mount + "/datakey/plaintext/" + t.key }
func (t transit) decrypt() string { return t.mount + "/decrypt/" + t.key }

// DataKey returns a new key of 32 random bytes and the same key wrapped by the
// transit key, which only OpenKey of a Vault with that key opens again. Vault
// keeps neither. errors.Is(err, ErrNoTransit) is for good; everything else is
// worth another try.
func (s *Store) DataKey(ctx context.Context) (plain []byte, wrapped string, err error) {
	defer s.measure(ctx, "datakey", time.Now(), &err)
	got, err := s.askTransit(ctx, s.transit.dataKey(), map[string]any{"bits": 8 * dataKeyBytes}, "")
	if err != nil {
		return nil, "", fmt.Errorf("vaultstore: making a data key: %w", err)
	}
	if len(got.Plaintext) != dataKeyBytes || !isWrapped(got.Ciphertext) {
		return nil, "", fmt.Errorf("vaultstore: making a data key: %w",
			fault.Transient(fault.Vault, errors.New("an answer of an unknown form")))
	}
	return got.Plaintext, got.Ciphertext, nil
}

// OpenKey returns the data key that DataKey wrapped, also after the transit key
// was rotated. errors.Is(err, ErrCannotOpen) means that Vault has the transit
// key and refuses this wrapped one; ErrNoTransit, that it was not looked at.
// Everything else is worth another try.
func (s *Store) OpenKey(ctx context.Context, wrapped string) (plain []byte, err error) {
	defer s.measure(ctx, "openkey", time.Now(), &err)
	if s.transit.key != "" && !isWrapped(wrapped) {
		return nil, fmt.Errorf("vaultstore: opening a data key: %w",
			fault.Permanent(fault.Malformed, fmt.Errorf("%w: %d bytes that are no wrapped key", ErrCannotOpen, len(wrapped))))
	}
	got, err := s.askTransit(ctx, s.transit.decrypt(), map[string]any{"ciphertext": wrapped}, wrapped)
	if err == nil && len(got.Plaintext) != dataKeyBytes {
		err = fault.Permanent(fault.Rejected, fmt.Errorf("%w: there are %d bytes in it", ErrCannotOpen, len(got.Plaintext)))
	}
	if err != nil {
		return nil, fmt.Errorf("vaultstore: opening a data key: %w", err)
	}
	return got.Plaintext, nil
}

// isWrapped reports whether s has the form in which transit wraps. Its second
// part is not looked into: that is Vault's.
func isWrapped(s string) bool {
	version, sealed, ok := strings.Cut(strings.TrimPrefix(s, wrappedPrefix), ":")
	return ok && strings.HasPrefix(s, wrappedPrefix) && version != "" && sealed != "" && len(s) <= maxWrappedBytes
}

// transitAnswer is what both calls answer, each its part.
type transitAnswer struct {
	Plaintext  []byte `json:"plaintext"` // base64 on the wire
	Ciphertext string `json:"ciphertext"`
}

// askTransit makes a call of the transit engine. Neither changes anything, so
// they count as reads and may be repeated. sent is what no error may quote.
func (s *Store) askTransit(ctx context.Context, path string, body map[string]any, sent string) (got transitAnswer, err error) {
	if s.transit.key == "" {
		return transitAnswer{}, fault.Permanent(fault.Rejected, fmt.Errorf("%w: none is configured", ErrNoTransit))
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return transitAnswer{}, err
	}
	err = s.session.do(ctx, false, func(ctx context.Context, client *api.Client) error {
		got, err = askTransitOnce(ctx, client, path, raw)
		return judgeTransit(ctx, err, sent)
	})
	switch {
	case errors.Is(err, errDenied):
		err = fault.Permanent(fault.Rejected, fmt.Errorf("%w: %w", ErrNoTransit, err))
	case errors.Is(err, ErrNoTransit), errors.Is(err, ErrCannotOpen):
		err = fault.Permanent(fault.Rejected, err)
	}
	return got, err
}

func askTransitOnce(ctx context.Context, client *api.Client, path string, body []byte) (transitAnswer, error) {
	resp, err := client.Logical().WriteRawWithContext(ctx, path, body)
	if resp != nil {
		defer func() { _ = resp.Body.Close() }()
	}
	if err != nil {
		return transitAnswer{}, err
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return transitAnswer{}, fmt.Errorf("reading the answer: %w", err)
	}
	if len(raw) == 0 { // a KV v1 engine takes the question for a secret and keeps it
		return transitAnswer{}, fmt.Errorf("%w: what is mounted there is no transit engine", ErrNoTransit)
	}
	var answer struct {
		Data transitAnswer `json:"data"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return transitAnswer{}, errors.New("an answer that is not Vault's") // err could quote it
	}
	return answer.Data, nil
}

// judgeTransit tells the refusals that an operator has to mend from those that
// time mends. It looks at the answer to the call itself, because a login on the
// way may be refused with the same status and means nothing of the kind. A 403
// is left to session.do. The texts are those of Vault 1.13; a refusal of
// another text counts as one too, since what is sent never varies.
func judgeTransit(ctx context.Context, err error, sent string) error {
	re, ok := errors.AsType[*api.ResponseError](err)
	if !ok || re.RawError {
		return err
	}
	words := strings.Join(re.Errors, "; ")
	refusal := &statusError{status: re.StatusCode, problem: problemOf(wireOf(ctx), re)}
	if _, sealed, ok := strings.Cut(strings.TrimPrefix(sent, wrappedPrefix), ":"); ok && strings.Contains(words, sealed) {
		refusal.problem = "it quotes the key, which is left out here"
	}
	opening := sent != ""
	switch {
	case re.StatusCode == http.StatusNotFound, re.StatusCode == http.StatusMethodNotAllowed:
		return noTransit(refusal)
	case re.StatusCode != http.StatusBadRequest:
		return refusal
	case opening && strings.Contains(words, "version is too new"):
		// A standby of Enterprise that lags behind a rotation says so, and a Vault
		// that was set back to a backup until it is brought forward again.
		return errors.New("the wrapped key is of a later version than this server knows")
	case opening && !strings.Contains(words, "key not found") && !strings.Contains(words, "derivation"):
		return fmt.Errorf("%w: %s", ErrCannotOpen, refusal.Error())
	}
	return noTransit(refusal)
}

// noTransit keeps the words of a refusal, but not as an error that is looked
// for: session and verdict would take it for one of their own.
func noTransit(refusal *statusError) error {
	return fmt.Errorf("%w: %s", ErrNoTransit, refusal.Error())
}
