package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/events"
)

// night stores connections in every kind of trouble.
func night(t *testing.T, now time.Time) *rig {
	t.Helper()
	r := applied(t)
	established := func(id string, since time.Duration) connection.Record {
		c := aConnection(t, id, "user-of-"+id, now.Add(-since))
		c.LastError, c.NextFetchAt = nil, now.Add(90*time.Minute+time.Minute)
		c.LastFetch.FinishedAt, c.RefreshObtainedAt = now.Add(-2*time.Hour-time.Minute), now.Add(-since)
		return c
	}
	healthy := established("6f0c7c9e-6d0c-5a57-9a53-0f7ac3a2d7a1", 30*day+time.Hour)
	tokenEnds := established("token-ends", 85*day)
	consentEnds := established("consent-ends", 175*day)
	consentEnds.RefreshObtainedAt, consentEnds.EstablishedAt = now.Add(-day), now.Add(-200*day)
	consentEnds = consentEnds.Consent(now.Add(-170*day - time.Hour))
	stale := established("stale", 40*day)
	stale.LastFetch.FinishedAt, stale.NextFetchAt = now.Add(-80*time.Hour), now.Add(-74*time.Hour-time.Minute)
	never := established("never", 5*day)
	never.LastFetch = nil
	ended, err := established("ended", 100*day).RequireReauthorization(now.Add(-time.Hour), "refresh_rejected", "finx: refreshing a token: 400 invalid_grant, "+strings.Repeat("x", 200))
	if err != nil {
		t.Fatal(err)
	}
	throttled := established("throttled", 20*day).Note(now.Add(-time.Minute), "throttled", "finx: listing accounts: 429")
	r.store(t, healthy, tokenEnds, consentEnds, stale, never, ended, throttled)
	return r
}

func TestTheNightsQuestionsAreAnswered(t *testing.T) {
	r := night(t, time.Now().UTC())
	for args, want := range map[string][]string{
		"--error --sort error":             {"throttled", "ended"},
		"--error=invalid_grant":            {"ended"},
		"--expiring 14d --sort token":      {"token-ends", "consent-ends"},
		"--expiring 14d --sort consent":    {"consent-ends", "token-ends"},
		"--expiring 1h":                    nil,
		"--stale 24h --sort fetched":       {"never", "stale"},
		"--stale 100h":                     {"never"},
		"--sort next --limit 1":            {"stale"},
		"--sort token --limit 1":           {"token-ends"},
		"--sort state --limit 1":           {"never"},
		"--sort user --limit 1":            {"6f0c7c9e-6d0c-5a57-9a53-0f7ac3a2d7a1"},
		"--state reauthorization_required": {"ended"},
		"--user user-of-stale --stale 1h":  {"stale"},
	} {
		var got []string
		for _, v := range decodeJSON[[]connectionView](t, r.run(t, append([]string{"connections", "list", "-o", "json"}, strings.Fields(args)...)...).done(t)) {
			got = append(got, v.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", args, got, want)
		}
	}
}

func TestTheTableIsReadableAtNight(t *testing.T) {
	r := night(t, time.Now().UTC())
	out := r.run(t, "connections", "list", "--sort", "user").done(t).
		prints(t, "7 connections: 6 established, 1 reauthorization_required", "~9d", "-3d", "refresh_rejected: finx: ", "…")
	for line := range strings.Lines(out.stdout) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 160 {
			t.Errorf("%d columns: %s", n, line)
		}
		if strings.HasPrefix(line, "6f0c") {
			want := strings.Fields("6f0c7c9e-6d0c-5a57-9a53-0f7ac3a2d7a1 user-of-6f0c7c9… established 30d 2h 1 42 1h 59d ~149d -")
			if got := strings.Fields(line); !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
		}
	}
	r.run(t, "connections", "list", "--wide", "--error=grant").done(t).prints(t, strings.Repeat("x", 200), "1 connection: 1 reauthorization_required")
	r.env["CONSENT_LIFETIME"] = "1000h"
	for _, v := range decodeJSON[[]connectionView](t, r.run(t, "connections", "list", "-o", "json").done(t)) {
		if ended := v.State != connection.Established; ended != (v.Token == nil) || ended != (v.Consent == nil) {
			t.Errorf("%s: %+v, %+v", v.ID, v.Token, v.Consent)
		}
		if v.ID == "consent-ends" && (v.Consent.DaysLeft != -129 || !v.Consent.Estimate || v.Token.DaysLeft != 88 || v.Token.Estimate) {
			t.Errorf("%+v, %+v", v.Consent, v.Token)
		}
	}
	r.run(t, "connections", "list").done(t).prints(t, "~over")
}

func TestShowTellsEndsAndTimers(t *testing.T) {
	now := time.Now().UTC()
	r := night(t, now)
	const id = "6f0c7c9e-6d0c-5a57-9a53-0f7ac3a2d7a1"
	r.run(t, "connections", "show", "token-ends").done(t).prints(t, "refresh token ends", ", in 4d", "bank consent ends", "(an estimate: CONSENT_LIFETIME").hides(t, "TIMER")
	fires := now.Add(3 * time.Hour).Truncate(time.Second)
	timer, err := events.NewSyncTimer(id, fires, events.SyncRequested{ConnectionID: id})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.js.PublishMsg(t.Context(), &nats.Msg{Subject: timer.WaitsOn, Data: timer.Body, Header: nats.Header{
		"Nats-Schedule": {"@at " + fires.Format(time.RFC3339)}, "Nats-Schedule-Target": {timer.DueOn},
	}}); err != nil {
		t.Fatal(err)
	}
	r.run(t, "connections", "show", id).done(t).prints(t, "TIMER       FIRES", "next fetch  "+fires.Format(time.RFC3339))
	got := decodeJSON[connectionDetails](t, r.run(t, "connections", "show", id, "-o", "json").done(t))
	if len(got.Timers) != 1 || !got.Timers[0].At.Equal(fires) || got.Token == nil || got.Token.DaysLeft != 59 {
		t.Errorf("%+v", got)
	}
	if err := r.js.DeleteStream(t.Context(), events.StreamTimers); err != nil {
		t.Fatal(err)
	}
	r.run(t, "connections", "show", "ended").done(t).complains(t, "its timers are not known").hides(t, "refresh token ends", "consent ends").
		prints(t, "last error was", "60m ago", "reauthorization_required")
}

func TestOfManyConnectionsFewAreHeld(t *testing.T) {
	const all, limit = 100_000, 10
	top := newTop(limit, orders()["since"])
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	states := connection.States()
	for i := range all {
		v := connectionView{ID: fmt.Sprint("id-", i), State: states[i%len(states)], Since: start.Add(time.Duration(i*7919%all) * time.Second)}
		top.add(v, true)
		if held := cap(top.views); held > 4*limit+256 {
			t.Fatalf("%d are held", held)
		}
	}
	// One of the first is written meanwhile: it is not chosen any more; another moves up.
	top.sort()
	first := top.views[0]
	top.add(first, false)
	moved := connectionView{ID: "id-17", State: connection.Erased, Since: start.Add(all * time.Second)}
	top.add(moved, true)
	top.add(moved, true)
	top.sort()
	if top.total != all-1 || len(top.views) != limit || top.views[0].ID != "id-17" || slices.ContainsFunc(top.views, func(v connectionView) bool { return v.ID == first.ID }) {
		t.Errorf("%d in all, %d held, first %s", top.total, len(top.views), top.views[0].ID)
	}
	sum := 0
	for _, n := range top.count {
		sum += n
	}
	if sum != top.total || !strings.Contains(top.footer(), fmt.Sprintf("%d connections: ", all-1)) {
		t.Errorf("%d counted: %s", sum, top.footer())
	}
}
