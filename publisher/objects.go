package publisher

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/retry"
	"github.com/finx-connector/finx-connector/internal/telemetry"
)

const (
	// objectChunk is how much of an object goes into one message, as clients of
	// the object store cut it, unless the broker's max_payload is below.
	objectChunk = 128 << 10
	// headerChunk numbers the messages of an object, so that one look at the last
	// of them says how far an upload has come.
	headerChunk = "Finx-Chunk"

	objectStream   = "OBJ_" + events.ObjectsOversize
	subjectChunks  = "$O." + events.ObjectsOversize + ".C."
	subjectObjects = "$O." + events.ObjectsOversize + ".M."
	subjectInfo    = "$JS.API.STREAM.INFO." + objectStream
	subjectGet     = "$JS.API.DIRECT.GET." + objectStream + "."
)

// storeObject puts raw into the object store, under the name of its digest, and
// returns the reference to it with that index. An object that is there already
// is found and not written again. It repeats for Config.Timeout; the error has a
// verdict, and what was written so far is continued by the next call, also of
// another process.
func (p *Publisher) storeObject(ctx context.Context, raw []byte, index int) (events.OversizeObject, error) {
	ref := events.NewOversizeObject(sha256.Sum256(raw), len(raw), index)
	u := p.newUpload(ref, raw)
	ctx, span := telemetry.Start(ctx, telemetry.Producer, "store object")
	span.Int(telemetry.KeyBodySize, len(raw))
	err := retry.Do(ctx, p.policy, u.attempt, func(err error, wait time.Duration) {
		p.cfg.Metrics.retried(reasonOf(err))
		p.cfg.Logger.WarnContext(ctx, "storing an object repeated", "object", ref.Object, "stream", objectStream, "wait", wait, "error", err)
	})
	p.cfg.Observe(standing(ctx, objectStream, err))
	span.End(err)
	if err != nil {
		p.cfg.Metrics.objectFailed(reasonOf(err))
		return events.OversizeObject{}, fmt.Errorf("publisher: storing an object of %d bytes in %s: %w", len(raw), ref.Bucket, err)
	}
	p.cfg.Metrics.objectStored(u.found, len(raw))
	return ref, nil
}

// upload is one object on its way into the store, in the form every client of
// the store reads: chunks on one subject, then a message that describes them.
//
// The client's own Put is no help. It sends chunks without waiting for their
// acks, so one that is lost in an election can leave a description behind whose
// chunks it then deletes; it takes other subjects each time, so what a killed
// process wrote would stay for ever; and two writers of one object both write.
// Here the subjects come from the digest and every message says which one it
// follows: whoever comes later, or comes back, goes on where the last one stopped.
type upload struct {
	p     *Publisher
	ref   events.OversizeObject
	raw   []byte
	chunk int    // bytes of a chunk
	id    string // names the chunks; their size is in it, as chunks of two sizes make no object

	looked bool   // the three below are known
	next   int    // chunk to be written next
	last   uint64 // sequence of the one before, 0 = none
	object uint64 // sequence of the last description, 0 = none

	found bool // somebody has stored it
}

func (p *Publisher) newUpload(ref events.OversizeObject, raw []byte) *upload {
	chunk := min(objectChunk, int(p.maxPayload())-headroom)
	return &upload{p: p, ref: ref, raw: raw, chunk: chunk, id: ref.SHA256 + "-" + strconv.Itoa(chunk)}
}

func (u *upload) chunks() int { return (len(u.raw) + u.chunk - 1) / u.chunk }

// attempt goes on with the upload. After any failure the next attempt looks
// again, as the message that failed may be stored.
func (u *upload) attempt(ctx context.Context) error {
	if !u.looked {
		if err := u.look(ctx); err != nil || u.found {
			return err
		}
	}
	for ; u.next < u.chunks(); u.next++ {
		seq, err := u.publish(ctx, u.last, u.message(u.next))
		if err != nil {
			return err
		}
		u.last = seq
	}
	description, err := json.Marshal(u.describe())
	if err != nil {
		return fmt.Errorf("describing the object: %w", err)
	}
	_, err = u.publish(ctx, u.object, &nats.Msg{
		Subject: u.subject(), Header: nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupSubject}}, Data: description,
	})
	return err
}

// message returns the n-th chunk; its data is a part of raw, not a copy.
func (u *upload) message(n int) *nats.Msg {
	from := n * u.chunk
	return &nats.Msg{
		Subject: subjectChunks + u.id, Header: nats.Header{headerChunk: {strconv.Itoa(n)}},
		Data: u.raw[from:min(from+u.chunk, len(u.raw))],
	}
}

// publish stores a message that follows the one with that sequence on its subject.
func (u *upload) publish(ctx context.Context, after uint64, msg *nats.Msg) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, u.p.cfg.AttemptTimeout)
	defer cancel()
	ack, err := u.p.cfg.JS.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0),
		jetstream.WithExpectStream(objectStream), jetstream.WithExpectLastSequencePerSubject(after))
	if err != nil {
		u.looked = false
		return 0, u.p.judge(msg.Subject, objectStream, err)
	}
	return ack.Sequence, nil
}

// look reads how far the object is. What it reads may be old, from a replica
// that lags: then the next message is refused, and the next attempt looks again.
func (u *upload) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, u.p.cfg.AttemptTimeout)
	defer cancel()
	s, err := u.p.cfg.JS.Stream(ctx, objectStream)
	if err != nil {
		return u.p.judge(subjectInfo, objectStream, err)
	}
	described, err := last(ctx, s, u.subject())
	if err != nil {
		return u.p.judge(subjectGet+u.subject(), objectStream, err)
	}
	if u.object = described.Sequence; u.isWhole(described.Data) {
		u.found = true
		return nil
	}
	chunk, err := last(ctx, s, subjectChunks+u.id)
	if err != nil {
		return u.p.judge(subjectGet+subjectChunks+u.id, objectStream, err)
	}
	u.next, u.last = 0, chunk.Sequence
	if u.last > 0 {
		n, err := strconv.Atoi(chunk.Header.Get(headerChunk))
		if err != nil {
			return fault.Transient(fault.NATS, fmt.Errorf("reading how far the object is: message %d of %s has no number", u.last, objectStream))
		}
		u.next = n + 1
	}
	u.looked = true
	return nil
}

// last returns the last message on a subject, an empty one when there is none.
func last(ctx context.Context, s jetstream.Stream, subject string) (*jetstream.RawStreamMsg, error) {
	msg, err := s.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return &jetstream.RawStreamMsg{}, nil
	}
	return msg, err
}

// isWhole reports whether a description is that of this object. One that was
// removed by an operator is not: it is stored again.
func (u *upload) isWhole(description []byte) bool {
	var info jetstream.ObjectInfo
	if len(description) == 0 || json.Unmarshal(description, &info) != nil {
		return false
	}
	want := u.describe()
	return !info.Deleted && info.Digest == want.Digest && info.Size == want.Size
}

func (u *upload) describe() jetstream.ObjectInfo {
	sum, _ := hex.DecodeString(u.ref.SHA256) // is ours
	return jetstream.ObjectInfo{
		ObjectMeta: jetstream.ObjectMeta{Name: u.ref.Object, Opts: &jetstream.ObjectMetaOptions{ChunkSize: uint32(u.chunk)}}, //nolint:gosec // at most objectChunk
		Bucket:     events.ObjectsOversize, NUID: u.id,
		Size: uint64(len(u.raw)), Chunks: uint32(u.chunks()), //nolint:gosec // an object that is in memory has not so many
		Digest: "SHA-256=" + base64.URLEncoding.EncodeToString(sum),
	}
}

func (u *upload) subject() string {
	return subjectObjects + base64.URLEncoding.EncodeToString([]byte(u.ref.Object))
}
