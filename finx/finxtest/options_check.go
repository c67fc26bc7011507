package finxtest

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Validate reports every option that makes no sense, each by its name.
func (o Options) Validate() error {
	return errors.Join(
		notNegative("LinkLifetime", o.LinkLifetime),
		notNegative("CodeLifetime", o.CodeLifetime),
		notNegative("AccessLifetime", o.AccessLifetime),
		notNegative("RefreshLifetime", o.RefreshLifetime),
		notNegative("ConsentLifetime", o.ConsentLifetime),
		notNegative("SyncEvery", o.SyncEvery),
		notNegative("Grace", o.Grace),
		notNegative("CodeGrace", o.CodeGrace),
		notNegative("RetryAfter", o.RetryAfter),
		notNegative("RatePerSecond", o.RatePerSecond),
		notNegative("RateBurst", o.RateBurst),
		notNegative("BusyAbove", o.BusyAbove),
		notNegative("MaxCount", o.MaxCount),
		tokenLength("CodeBytes", o.CodeBytes),
		tokenLength("AccessTokenBytes", o.AccessTokenBytes),
		tokenLength("RefreshTokenBytes", o.RefreshTokenBytes),
		oneOf("TokenErrors", o.TokenErrors, OAuthErrors, FinXErrors),
		oneOf("CancelParam", o.CancelParam, "cancel", "abort"),
		oneOf("RateStatus", o.RateStatus, http.StatusTooManyRequests, http.StatusServiceUnavailable),
		o.Shape.validate(),
	)
}

func notNegative[N int | float64 | time.Duration](name string, n N) error {
	if n < 0 {
		return fmt.Errorf("finxtest: %s: %v is negative", name, n)
	}
	return nil
}

func tokenLength(name string, n int) error {
	if n != 0 && (n < MinTokenBytes || n > MaxTokenBytes) {
		return fmt.Errorf("finxtest: %s: %d is not in %d…%d", name, n, MinTokenBytes, MaxTokenBytes)
	}
	return nil
}

// oneOf accepts the zero value too, which stands for the default.
func oneOf[V comparable](name string, v V, choices ...V) error {
	var unset V
	if v != unset && !slices.Contains(choices, v) {
		return fmt.Errorf("finxtest: %s: %v is none of %v", name, v, choices)
	}
	return nil
}
