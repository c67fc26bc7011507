package connectionkv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/internal/streamread"
)

const breakerPrefix = "breaker."

// surveyMost bounds how many keys of a kind a survey reads.
const surveyMost = 500

// Shared is what lies in the buckets that replicas share, for people. No sealed value
// is in it.
type Shared struct {
	Breakers map[string][]byte // by server; as guard.ReadStatus takes them
	Replicas []Replica         // live ones, by name
	Suspects int               // deliveries that were begun and have not returned
	Waiting  int               // sealed answers that Vault has not taken, surveyMost at most
	Oldest   time.Time         // when the oldest of them was put there
}

// Replica is one live process.
type Replica struct {
	Holder  string    `json:"holder"`
	Since   time.Time `json:"since"`
	Version string    `json:"version,omitempty"` // "" of one that does not say
}

// Survey reads it. It needs the rights to ask for the info of both buckets and to get
// messages from them. The error carries a verdict of NATS.
func Survey(ctx context.Context, js jetstream.JetStream, timeout time.Duration) (Shared, error) {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	out := Shared{Breakers: map[string][]byte{}}
	control := bucket{js: js, name: BucketControl, timeout: timeout}
	err := control.each(ctx, breakerPrefix, func(key string, m streamread.Message) error {
		out.Breakers[key] = m.Data
		return nil
	})
	if err == nil {
		err = control.each(ctx, replicaPrefix, func(_ string, m streamread.Message) error {
			var r Replica
			if err := json.Unmarshal(m.Data, &r); err != nil {
				return errors.New("a replica's key is not JSON")
			}
			out.Replicas = append(out.Replicas, r)
			return nil
		})
	}
	if err == nil {
		err = control.each(ctx, suspectPrefix, func(string, streamread.Message) error { out.Suspects++; return nil })
	}
	if err == nil {
		escrow := bucket{js: js, name: BucketEscrow, timeout: timeout}
		err = escrow.each(ctx, "", func(_ string, m streamread.Message) error {
			out.Waiting++
			if out.Oldest.IsZero() || m.Time.Before(out.Oldest) {
				out.Oldest = m.Time
			}
			return nil
		})
	}
	slices.SortFunc(out.Replicas, func(a, b Replica) int { return strings.Compare(a.Holder, b.Holder) })
	if err != nil {
		return out, fmt.Errorf("connectionkv: surveying what replicas share: %w", err)
	}
	return out, nil
}

// each calls do with the live values of the keys that begin with prefix, which is
// empty or ends in a dot, surveyMost at most.
func (b bucket) each(ctx context.Context, prefix string, do func(key string, m streamread.Message) error) error {
	keys, err := b.keys(ctx, prefix)
	if err != nil {
		return fmt.Errorf("bucket %s: %w", b.name, err)
	}
	for _, key := range keys[:min(len(keys), surveyMost)] {
		try, cancel := context.WithTimeout(ctx, b.timeout)
		m, err := streamread.Last(try, b.js, "KV_"+b.name, b.keySubject(key))
		cancel()
		switch {
		case errors.Is(err, streamread.ErrNotFound):
			continue // gone since
		case err != nil:
			return fmt.Errorf("bucket %s: %w", b.name, judgeRead(err))
		case !isValue(m.Header):
			continue
		}
		if err := do(strings.TrimPrefix(key, prefix), m); err != nil {
			return fmt.Errorf("bucket %s: %w", b.name, err)
		}
	}
	return nil
}

// keys lists the keys that begin with prefix, those that hold a mere marker included.
func (b bucket) keys(ctx context.Context, prefix string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	s, err := b.js.Stream(ctx, "KV_"+b.name)
	if err != nil {
		return nil, judgeRead(err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(b.keySubject(prefix+">")))
	if err != nil {
		return nil, judgeRead(err)
	}
	keys := make([]string, 0, len(info.State.Subjects))
	for subject := range info.State.Subjects {
		keys = append(keys, strings.TrimPrefix(subject, b.keySubject("")))
	}
	slices.Sort(keys)
	return keys, nil
}
