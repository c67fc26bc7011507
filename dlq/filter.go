package dlq

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// Filter chooses dead letters; what is not zero must hold. The zero Filter
// chooses all.
type Filter struct {
	Class   fault.Class
	Subject string // original subject, with or without what stands behind it; wildcards are NATS's
	Stream  string // of the original
	// Since and Until are about when the dead letter was stored: not before the
	// one, before the other.
	Since, Until time.Time
	// Connection and User choose what is about one of them, see About.
	Connection, User string
}

// takes reports whether the filter chooses l, as far as the broker does not do
// it. It does not know times after the year 2262.
func (q *Queue) takes(ctx context.Context, f Filter, l Letter) (bool, error) {
	switch {
	case f.Class != "" && l.Reason != f.Class,
		f.Stream != "" && l.Original.Stream != f.Stream,
		l.Stored.Before(f.Since),
		!f.Until.IsZero() && !l.Stored.Before(f.Until):
		return false, nil
	case f.Connection == "" && f.User == "":
		return true, nil
	}
	connection, user, err := q.About(ctx, l)
	if err != nil {
		return false, err
	}
	return (f.Connection == "" || f.Connection == connection) && (f.User == "" || f.User == user), nil
}

// About returns the connection and the user that a dead letter is about, as far as
// the event says so: a connect request names a user and makes its connection, a
// sync names a connection, an erasure one of the two, and of a callback's state
// Config.Who knows. "" for what is not known, as of a body that was withheld.
func (q *Queue) About(ctx context.Context, l Letter) (connection, user string, err error) {
	env, err := q.cfg.Codec.Parse(l.message())
	if err != nil {
		return "", "", nil //nolint:nilerr // what cannot be read is about nobody; it may be why the event was given up
	}
	var data struct {
		ConnectionID string `json:"connection_id"`
		UserID       string `json:"user_id"`
	}
	if env.Type == events.TypeCallbackReceived {
		return q.owner(ctx, env)
	}
	_ = json.Unmarshal(env.Data, &data) // a member of another type is why the event was given up
	if env.Type == events.TypeConnectRequested {
		data.ConnectionID = events.ConnectionID(env)
	}
	return data.ConnectionID, data.UserID, nil
}

// owner is that of a callback. Without its code, as it is in a dead letter, the
// callback may not be whole, so only its state is looked for.
func (q *Queue) owner(ctx context.Context, env events.Envelope) (connection, user string, err error) {
	var data struct {
		State string `json:"state"`
		URL   string `json:"callback_url"`
	}
	_ = json.Unmarshal(env.Data, &data)
	if u, err := url.Parse(data.URL); err == nil && data.State == "" {
		data.State = u.Query().Get("state")
	}
	if data.State == "" || q.cfg.Who == nil {
		return "", "", nil
	}
	connection, user, err = q.cfg.Who(ctx, data.State)
	if err != nil {
		return "", "", fmt.Errorf("asking whose state it is: %w", err)
	}
	return connection, user, nil
}

// subjects are those of the dead letters of an original subject.
func (q *Queue) subjects(original string) []string {
	if original == "" {
		return []string{q.cfg.Codec.Subject(events.SubjectDLQ + ".>")}
	}
	at := q.cfg.Codec.DLQSubject(original)
	if strings.HasSuffix(at, ".>") {
		return []string{at}
	}
	return []string{at, at + ".>"}
}
