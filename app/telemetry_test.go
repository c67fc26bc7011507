package app_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/app"
	"github.com/finx-connector/finx-connector/settings"
)

// A variable of OpenTelemetry that makes no sense ends the start before anything is
// connected, and is named.
func TestStartNamesTheVariableOfTraces(t *testing.T) {
	s := settings.Settings{}
	s.Process.OTLPEndpoint = "http://127.0.0.1:4318"
	err := app.Run(t.Context(), app.Options{Settings: s, Logger: slog.New(slog.DiscardHandler), Getenv: func(name string) string {
		return map[string]string{"OTEL_TRACES_SAMPLER": "sometimes"}[name]
	}})
	if err == nil || !strings.Contains(err.Error(), "OTEL_TRACES_SAMPLER") {
		t.Errorf("the error is %v", err)
	}
}
