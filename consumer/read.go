package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/streamread"
)

const (
	// readWithin bounds one read. A refused request is answered by silence.
	readWithin = 5 * time.Second
	// How long a stream that could not be read is left alone. After silence each try
	// costs readWithin and holds a slot, so it is longer.
	readAgain        = time.Second
	readAgainRefused = 15 * time.Second
	// readableFor is how long a stream that was read counts as readable.
	readableFor = 10 * time.Minute
	// noSequence is one that no message has, to ask whether reading is permitted.
	noSequence = 1 << 62
	// retentionWithin bounds the question for a stream's retention. It may be refused,
	// by silence.
	retentionWithin = 2 * time.Second
	// retentionAgain is when a stream is asked again that did not answer.
	retentionAgain = time.Minute
)

// errGone says that the stream does not hold the message any more.
var errGone = errors.New("consumer: reading a parked message: it is no longer in its stream")

// reader reads messages by their sequence, for all lanes. It needs the right to
// publish to $JS.API.STREAM.MSG.GET.<stream>, and to $JS.API.STREAM.INFO.<stream>
// to see that parking loses nothing there. It is safe for concurrent use.
type reader struct {
	js jetstream.JetStream

	mu      sync.Mutex
	streams map[string]readable
	// retained says whether a stream keeps what was acknowledged.
	retained map[string]retained
}

// readable is what is known of reading from one stream.
type readable struct {
	err    error // of the last try
	until  time.Time
	asking bool // somebody finds out
}

// retained is what is known of a stream's retention.
type retained struct {
	err   error // it does not keep what was acknowledged
	until time.Time
}

func newReader(js jetstream.JetStream) *reader {
	return &reader{js: js, streams: map[string]readable{}, retained: map[string]retained{}}
}

// read returns a message. errGone when there is none; any other error says until
// when the stream cannot be read, which is found out by one caller at a time.
func (r *reader) read(ctx context.Context, stream string, sequence uint64) (events.Message, error) {
	r.mu.Lock()
	known, now := r.streams[stream], time.Now()
	if known.err != nil && (known.asking || now.Before(known.until)) {
		r.mu.Unlock()
		return events.Message{}, known.err
	}
	known.asking = true
	r.streams[stream] = known
	r.mu.Unlock()

	m, err := r.get(ctx, stream, sequence)
	known = readable{until: time.Now().Add(readableFor)}
	if err != nil && !errors.Is(err, errGone) {
		again := readAgain
		if errors.Is(err, context.DeadlineExceeded) {
			again = readAgainRefused
		}
		until := time.Now().Add(again)
		err = fault.Throttled(fault.NATS, until, err)
		known = readable{err: err, until: until}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.streams[stream] = known
	return m, err
}

// check returns nil when the stream can be read, as far as was found out lately, and
// does not drop a message when it is acknowledged.
func (r *reader) check(ctx context.Context, stream string) error {
	if err := r.checkRetention(ctx, stream); err != nil {
		return err
	}
	r.mu.Lock()
	known := r.streams[stream]
	r.mu.Unlock()
	if known.err == nil && time.Now().Before(known.until) {
		return nil
	}
	if _, err := r.read(ctx, stream, noSequence); !errors.Is(err, errGone) {
		return err
	}
	return nil
}

// checkRetention looks whether a message outlives its acknowledgement: with another
// retention than by limits, what was parked would be gone with the next answer. A
// stream that may not be asked is taken for one that keeps its messages.
func (r *reader) checkRetention(ctx context.Context, stream string) error {
	r.mu.Lock()
	known := r.retained[stream]
	r.mu.Unlock()
	if time.Now().Before(known.until) {
		return known.err
	}
	known = retained{until: time.Now().Add(readableFor)}
	ctx, cancel := context.WithTimeout(ctx, retentionWithin)
	defer cancel()
	var info struct {
		Config struct {
			Retention string `json:"retention"`
		} `json:"config"`
	}
	reply, err := r.js.Conn().RequestWithContext(ctx, streamread.Subject(r.js, "STREAM.INFO."+stream), nil)
	if err != nil {
		known.until = time.Now().Add(retentionAgain)
	} else if json.Unmarshal(reply.Data, &info) == nil && info.Config.Retention != "" && info.Config.Retention != "limits" {
		known.err = fmt.Errorf("consumer: parking: stream %s has retention %s, with which an acknowledged message is gone: ask its owner for limits", stream, info.Config.Retention)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.retained[stream] = known
	return known.err
}

// get asks the leader of the stream, once.
func (r *reader) get(ctx context.Context, stream string, sequence uint64) (events.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	m, err := streamread.At(ctx, r.js, stream, sequence)
	if errors.Is(err, streamread.ErrNotFound) {
		return events.Message{}, errGone
	}
	if err != nil {
		if refused := refusedSubject(r.js.Conn(), "STREAM.MSG.GET."+stream); refused != "" {
			err = fmt.Errorf("the NATS user lacks a permission: %s: %w", refused, err)
		}
		return events.Message{}, fmt.Errorf("consumer: reading from stream %s: %w", stream, err)
	}
	return events.Message{
		Subject: m.Subject, Header: m.Header, Data: m.Data, Stream: stream, Sequence: sequence, Time: m.Time,
	}, nil
}

// refusedSubject returns what the server refused last when it is about this part
// of a subject. The server names it only in an asynchronous error, which the
// connection remembers.
func refusedSubject(conn *nats.Conn, part string) string {
	last := conn.LastError()
	if last == nil || !errors.Is(last, nats.ErrPermissionViolation) || !strings.Contains(last.Error(), part) {
		return ""
	}
	return oneLine(strings.TrimPrefix(last.Error(), "nats: "))
}
