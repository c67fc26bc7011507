// Package streamread reads single messages from a stream, from its leader.
//
// jetstream.Stream asks for the stream's info first, which takes a right that a
// reader of one message does not need, and jetstream.KeyValue reads from any
// replica, which may be behind. The questions here need the right to publish to
// $JS.API.STREAM.MSG.GET.<stream> and no other.
package streamread

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrNotFound says that the stream holds no such message.
var ErrNotFound = errors.New("no such message")

// Message is a stored message.
type Message struct {
	Subject  string
	Sequence uint64
	Header   nats.Header // nil when it has none
	Data     []byte
	Time     time.Time // when it was stored
}

// At returns the message of that sequence. Errors: ErrNotFound, the broker's
// *jetstream.APIError, or that of the request; a refused one is answered by
// silence until ctx ends.
func At(ctx context.Context, js jetstream.JetStream, stream string, sequence uint64) (Message, error) {
	return get(ctx, js, stream, map[string]uint64{"seq": sequence})
}

// Last returns the newest message of a subject. Errors: as At.
func Last(ctx context.Context, js jetstream.JetStream, stream, subject string) (Message, error) {
	return get(ctx, js, stream, map[string]string{"last_by_subj": subject})
}

// Next returns the first message from a sequence on whose subject matches; the
// subject may have wildcards. Errors: as At.
func Next(ctx context.Context, js jetstream.JetStream, stream, subject string, from uint64) (Message, error) {
	return get(ctx, js, stream, map[string]any{"seq": from, "next_by_subj": subject})
}

// Subject returns that of a request to the JetStream API, such as
// STREAM.INFO.FINX_EVENTS, under the prefix or domain of the caller's handle.
func Subject(js jetstream.JetStream, request string) string {
	o, prefix := js.Options(), jetstream.DefaultAPIPrefix
	switch {
	case o.Domain != "":
		prefix = "$JS." + o.Domain + ".API."
	case o.APIPrefix != "":
		prefix = strings.TrimSuffix(o.APIPrefix, ".") + "."
	}
	return prefix + request
}

// answer is the broker's, as ADR-8 and the JetStream API describe it.
type answer struct {
	Error   *jetstream.APIError `json:"error"`
	Message *struct {
		Subject  string    `json:"subject"`
		Sequence uint64    `json:"seq"`
		Header   []byte    `json:"hdrs"`
		Data     []byte    `json:"data"`
		Time     time.Time `json:"time"`
	} `json:"message"`
}

func get(ctx context.Context, js jetstream.JetStream, stream string, question any) (Message, error) {
	request, err := json.Marshal(question)
	if err != nil {
		return Message{}, err
	}
	reply, err := js.Conn().RequestWithContext(ctx, Subject(js, "STREAM.MSG.GET."+stream), request)
	if err != nil {
		return Message{}, err
	}
	var a answer
	if err := json.Unmarshal(reply.Data, &a); err != nil {
		// Its text could quote the message.
		return Message{}, errors.New("the broker's answer is not as documented")
	}
	switch {
	case a.Error != nil && a.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return Message{}, ErrNotFound
	case a.Error != nil:
		return Message{}, a.Error
	case a.Message == nil:
		return Message{}, errors.New("an answer without a message")
	}
	m := Message{Subject: a.Message.Subject, Sequence: a.Message.Sequence, Data: a.Message.Data, Time: a.Message.Time}
	if len(a.Message.Header) > 0 {
		if m.Header, err = nats.DecodeHeadersMsg(a.Message.Header); err != nil {
			return Message{}, fmt.Errorf("headers: %w", err)
		}
	}
	return m, nil
}
