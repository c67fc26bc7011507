package app

import (
	"cmp"
	"context"
	"log/slog"

	"github.com/finx-connector/finx-connector/internal/telemetry"
	"github.com/finx-connector/finx-connector/settings"
)

// CheckTraces says what is wrong with the settings of traces and with OpenTelemetry's
// own variables, for which serve would not start. Nothing is sent. getenv is os.Getenv
// when nil.
func CheckTraces(ctx context.Context, s settings.Settings, getenv func(string) string) error {
	tracer, err := telemetry.New(ctx, telemetry.Config{
		Endpoint: s.Process.OTLPEndpoint, TracesEndpoint: s.Process.OTLPTracesEndpoint, Getenv: getenv,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	return tracer.Stop(ctx)
}

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
