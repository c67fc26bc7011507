package app

import (
	"cmp"
	"context"
	"log/slog"

	"github.com/finx-connector/finx-connector/internal/telemetry"
)

// openTraces makes the tracer, first of all parts, so that it is stopped last: what
// the drain does is traced too.
func (p *process) openTraces(ctx context.Context) error {
	var err error
	p.tracer, err = telemetry.New(ctx, telemetry.Config{
		Endpoint: p.Settings.Process.OTLPEndpoint, TracesEndpoint: p.Settings.Process.OTLPTracesEndpoint, Getenv: p.Getenv,
		Service: "finx-connector", Version: p.Version, Instance: p.holder,
		Logger: p.Logger, Metrics: telemetry.NewMetrics(p.reg),
	})
	if err != nil || p.tracer == nil {
		return err
	}
	p.Logger = slog.New(telemetry.Handler(p.Logger.Handler()))
	p.Logger.InfoContext(ctx, "traces are made", "endpoint", cmp.Or(p.Settings.Process.OTLPTracesEndpoint, p.Settings.Process.OTLPEndpoint))
	p.stops.push("traces", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, telemetry.StopWithin)
		defer cancel()
		if err := p.tracer.Stop(ctx); err != nil {
			p.Logger.WarnContext(ctx, "the last spans were not sent", "error", err)
		}
		return nil
	})
	return nil
}
