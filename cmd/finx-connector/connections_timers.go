package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/app"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/streamread"
)

// timerView is a timer of a connection that waits for its time.
type timerView struct {
	For string    `json:"for"`
	At  time.Time `json:"at"`
}

// timers returns the timers that are set for a connection.
func (b *broker) timers(ctx context.Context, connectionID string) ([]timerView, error) {
	codec, found := app.Codec(b.settings), []timerView{}
	for _, kind := range []struct{ name, subject string }{
		{"next fetch", events.SubjectTimerSync}, {"keep-alive of the refresh token", events.SubjectTimerKeepAlive},
	} {
		m, err := b.lastOn(ctx, b.settings.Streams.Timers, codec.Subject(kind.subject+"."+connectionID))
		if errors.Is(err, streamread.ErrNotFound) {
			continue
		}
		if err != nil {
			return found, fmt.Errorf("reading stream %s: %w", b.settings.Streams.Timers, err)
		}
		if at, ok := firesAt(m.Header.Get(jetstream.ScheduleHeader)); ok {
			found = append(found, timerView{kind.name, at})
		}
	}
	return found, nil
}

func (b *broker) lastOn(ctx context.Context, stream, subject string) (streamread.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, b.wait)
	defer cancel()
	return streamread.Last(ctx, b.js, stream, subject)
}

// firesAt reads the header of a schedule, "@at" and an RFC 3339 time.
func firesAt(schedule string) (time.Time, bool) {
	text, ok := strings.CutPrefix(schedule, "@at ")
	at, err := time.Parse(time.RFC3339, text)
	return at, ok && err == nil
}
