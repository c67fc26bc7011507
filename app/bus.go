package app

import (
	"context"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/flow"
	"github.com/finx-connector/finx-connector/publisher"
)

// bus gives flow the publisher in flow's own words, so that neither knows the other.
type bus struct {
	pub        *publisher.Publisher
	chunkBytes int
}

var _ flow.Bus = bus{}

// NewBus returns pub as flow sees it; parts of a fetch are at most chunkBytes.
func NewBus(pub *publisher.Publisher, chunkBytes int) flow.Bus { return bus{pub, chunkBytes} }

func (b bus) Publish(ctx context.Context, o events.Output) error {
	_, err := b.pub.Publish(ctx, o)
	return err
}

func (b bus) RequestSync(ctx context.Context, id string, t time.Time, c events.Cause, r events.SyncRequested) error {
	return b.pub.RequestSync(ctx, id, t, c, r)
}

func (b bus) ScheduleSync(ctx context.Context, connectionID string, at time.Time, r events.SyncRequested) error {
	return b.pub.ScheduleSync(ctx, connectionID, at, r)
}

func (b bus) NewFetch(m flow.FetchMeta) flow.Parts {
	return parts{b.pub.NewFetchWriter(publisher.FetchMeta(m), b.chunkBytes)}
}

type parts struct{ *publisher.FetchWriter }

func (p parts) StartAccount(h flow.AccountHead) {
	p.FetchWriter.StartAccount(publisher.AccountHead(h))
}
