package finxtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// callNames are the calls that a fault may name.
var callNames = [...]string{
	"access", "sync", "token.exchange", "token.refresh", "token.other", "revoke",
	"accounts", "account", "balance", "transactions", "transaction", "categories", "version", "other",
}

// validate names the first thing that makes the fault impossible.
func (f Fault) validate() error {
	if f.Call != "*" && f.Call != "token" && !slices.Contains(callNames[:], f.Call) {
		return fmt.Errorf("finxtest: fault: call %q is none of *, token, %s", f.Call, strings.Join(callNames[:], ", "))
	}
	for _, c := range [...]struct {
		holds     bool
		otherwise string
	}{
		{min(f.Nth, f.Every, f.Times, f.Truncate) >= 0 && f.Delay >= 0, "nth, every, times, truncate and delay must not be negative"},
		{f.Probability >= 0 && f.Probability <= 1, "probability must be between 0 and 1"},
		{f.Status == 0 || (f.Status >= 200 && f.Status <= 599), "status must be between 200 and 599"},
		{isMoment(f.When), "when must be before or after"},
		{isMoment(f.Drop), "drop must be before or after"},
		{f.Drip == nil || (f.Drip.Bytes >= 1 && f.Drip.Interval >= 0), "drip needs bytes of 1 or more"},
		{f.Status != 0 || !f.hasAnswer(), "body, html, code and retry_after need a status"},
		{f.acts(), "nothing goes wrong: give status, delay, drop, truncate or drip"},
	} {
		if !c.holds {
			return errors.New("finxtest: fault: " + c.otherwise)
		}
	}
	return nil
}

// isMoment reports whether s says when to act, or leaves it to the default.
func isMoment(s string) bool { return s == "" || s == "before" || s == "after" }

// hasAnswer reports whether any part of a replaced answer is given.
func (f Fault) hasAnswer() bool {
	return f.Body != "" || f.HTML != "" || f.Code != 0 || f.RetryAfter != ""
}

// acts reports whether the fault changes anything about a call.
func (f Fault) acts() bool {
	return f.Status != 0 || f.Delay != 0 || f.Drop != "" || f.Truncate != 0 || f.Drip != nil
}
