package events_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/secret"
)

var update = flag.Bool("update", false, "write the goldens of the output events anew")

const (
	connectionID = "7d0f6d3c-2f5c-5d0e-9a57-1f0f2b6a4c11"
	fetchID      = "0c4b8f9e-91f2-5a44-8a43-5d4d0d6b7e22"
	traceParent  = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
)

var (
	at    = time.Date(2026, 11, 22, 16, 30, 1, 250_000_000, time.UTC)
	cause = events.Cause{ID: "evt-1", TraceParent: traceParent, TraceState: "vendor=1"}
)

// account and transactions have what re-encoding would change: blanks, an
// exponent, trailing zeros, HTML characters, escapes that need not be.
const (
	account      = `{"account_id": "A12345.6", "access_id":"X1.2",  "balance":{"balance":1.50E+3},"name":"A & B <GmbH>","status":{"synced_at":"2026-11-22T10:00:00.000Z"}}`
	transactions = `{"transaction_id":"T1.1","amount":-23.90,"purpose":"caf\u00e9 \/ 100% <b>"} , {"transaction_id":"T1.2", "amount": 1e2}`
)

// outputs is one event of each output type, by the stem of its golden.
func outputs() map[string]events.Output {
	return map[string]events.Output{
		"widget_link_created": events.NewWidgetLinkCreated(cause, events.WidgetLinkCreated{
			ConnectionID: connectionID, UserID: "alice@example.com", State: "s-1",
			Location: secret.New("https://widget.example/?token=eyJ&lang=de"), FlowID: "3ca31c37-986a-454e-ad64-8e97143c86bc", TrackingID: "t-1",
		}),
		"connection_established": events.NewConnectionEstablished(cause, events.ConnectionEstablished{
			ConnectionID: connectionID, UserID: "alice@example.com", State: "s-1", Scope: "accounts=ro transactions=ro offline", EstablishedAt: at,
		}),
		"connection_failed": events.NewConnectionFailed(cause, events.ConnectionFailed{
			ConnectionID: connectionID, UserID: "alice@example.com", State: "s-1", Reason: events.ReasonCodeExpired, Detail: "the callback was 61 minutes old",
		}),
		"connection_expiring": events.NewConnectionExpiring(cause, events.ConnectionExpiring{
			ConnectionID: connectionID, UserID: "alice@example.com", What: events.WhatBankConsent, ExpiresAt: at.AddDate(0, 0, 14), DaysLeft: 14,
			Location: secret.New("https://widget.example/?token=renew"),
		}),
		"reauthorization_required": events.NewReauthorizationRequired(cause, events.ReauthorizationRequired{
			ConnectionID: connectionID, UserID: "alice@example.com", Reason: events.ReasonRefreshRejected, Location: secret.New("https://widget.example/?token=again"),
		}),
		"connection_erased": events.NewConnectionErased(cause, events.ConnectionErased{
			ConnectionID: connectionID, UserID: "alice@example.com",
			Erased: events.Erased{VaultVersions: 3, KVKeys: 2, StreamMessages: 17, DLQMessages: 1, Timers: 1},
		}),
		"transactions_fetched":          events.NewTransactionsFetched(cause, fetchedPart()),
		"transactions_fetched_oversize": events.NewTransactionsFetched(cause, oversizePart()),
		"fetch_completed": events.NewFetchCompleted(cause, events.FetchCompleted{
			ConnectionID: connectionID, UserID: "alice@example.com", FetchID: fetchID, Trigger: events.TriggerCallback,
			Accounts:     []events.AccountFetched{{AccountID: "A12345.6", Parts: 1, Transactions: 2, SyncedAt: "2026-11-22T10:00:00.000Z"}},
			Transactions: 2, EventIDs: []string{"a1d1c9a4-2b8a-5c0b-8a55-0a5f9d3c7e33"}, StartedAt: at, FinishedAt: at.Add(2 * time.Second),
		}),
		"fetch_failed": events.NewFetchFailed(cause, events.FetchFailed{
			ConnectionID: connectionID, UserID: "alice@example.com", FetchID: fetchID, Trigger: events.TriggerSchedule,
			Reason: "bank_unavailable", Detail: "finX answered 503", RetryAt: at.Add(time.Hour),
		}),
		"replay_completed": events.NewReplayCompleted(events.ReplayCompleted{
			ReplayID: "a4f1c2de-5b0a-4c52-8f0e-1d2c3b4a5f60", Mode: "outputs", By: "ops@bastion", Reason: "downstream lost its table",
			StartedAt: at, FinishedAt: at.Add(time.Minute), Outcome: events.ReplayCompletedOutcome,
			Selection: events.ReplaySelection{
				Since: at.AddDate(0, 0, -1), Until: at, FromSeq: 17, ToSeq: 4711, Subject: "transactions.fetched", ConnectionID: connectionID,
				UserSHA256: strings.Repeat("0a", 32), WindowSince: "2026-08-01", WindowUntil: "2026-08-31", Full: true,
			},
			To: "replay.accounting", Matched: 120, Replayed: 100, Duplicates: 12, Skipped: 7, Failed: 1, Bytes: 90210, BankCallsEstimated: 3,
		}),
	}
}

func fetchedPart() events.TransactionsFetched {
	return events.TransactionsFetched{
		ConnectionID: connectionID, UserID: "alice@example.com", FetchID: fetchID, Trigger: events.TriggerCallback,
		AccountID: "A12345.6", Account: []byte(account), Part: 0, Window: events.Window{Since: "2026-08-24", Until: "2026-11-22"},
		SyncedAt: "2026-11-22T10:00:00.000Z", Transactions: []byte(transactions),
	}
}

func golden(t *testing.T, stem string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", stem+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b, []byte("\n"))
}

func TestOutputsMatchTheirGoldensAndSchemas(t *testing.T) {
	seen := map[string]bool{}
	for stem, o := range outputs() {
		t.Run(stem, func(t *testing.T) {
			o.Time = at
			got := o.AppendJSON(nil)
			if *update {
				if err := os.WriteFile(filepath.Join("testdata", stem+".json"), append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := golden(t, stem); !bytes.Equal(got, want) {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if err := conforms(compile(t, o.Type), o.Data); err != nil {
				t.Error(err)
			}
		})
		seen[o.Type] = true
	}
	if len(seen) != len(events.OutputTypes()) {
		t.Errorf("goldens for %d of %d output types", len(seen), len(events.OutputTypes()))
	}
}

func TestInputGoldensAreReadInAllThreeForms(t *testing.T) {
	yes, no, days := true, false, 180
	for stem, want := range map[string]any{
		"connect_requested": events.ConnectRequested{
			RedirectURI: "https://app.example/callback?x=1", UserID: "alice@example.com", State: "7fe78733", TrackingID: "t-1", Language: "de",
			ProviderID: "b7a1e6a0-8a2e-4a8e-9a44-0e4c6c1b0d10", Accounts: []events.AccountRef{{ID: "DE07900948150000002000"}},
			AccountTypes: []string{"Giro account"}, AllowMultiSelection: &yes, SyncPeriod: &days, SaveSecrets: &no,
		},
		"callback_received": events.CallbackReceived{
			State: "7fe78733", Success: true, Code: secret.New("eyJhbGciO.canary"), FlowID: "3ca31c37-986a-454e-ad64-8e97143c86bc",
		},
		"sync_requested":    events.SyncRequested{ConnectionID: connectionID, Since: "2026-01-31", Full: true, Reason: "support case 17", Trigger: "request"},
		"erasure_requested": events.ErasureRequested{UserID: "alice@example.com", ConnectionID: connectionID},
	} {
		t.Run(stem, func(t *testing.T) {
			structured := golden(t, stem)
			typ := typeOfStem(stem)
			e, err := events.Codec{}.Parse(events.Message{Subject: typ, Data: structured})
			if err != nil {
				t.Fatal(err)
			}
			if e.ID != "golden-1" || e.Source != "/upstream" || e.TraceParent != traceParent || !e.Time.Equal(at) {
				t.Errorf("envelope %+v", e)
			}
			if err := conforms(compile(t, typ), e.Data); err != nil {
				t.Error(err)
			}
			binary, err := events.Codec{}.Parse(events.Message{Subject: typ, Header: e.Headers(), Data: e.Data})
			if err != nil || !reflect.DeepEqual(binary, e) {
				t.Errorf("binary mode: %v\n got %+v\nwant %+v", err, binary, e)
			}
			bare, err := events.Codec{}.Parse(events.Message{Subject: typ, Data: e.Data, Stream: "S", Sequence: 4, Time: at})
			if err != nil {
				t.Fatal(err)
			}
			for name, env := range map[string]events.Envelope{"structured": e, "binary": binary, "bare": bare} {
				got, err := decode(env)
				if err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("%s: %v\n got %#v\nwant %#v", name, err, got, want)
				}
			}
		})
	}
}

func typeOfStem(stem string) string {
	switch stem {
	case "connect_requested":
		return events.TypeConnectRequested
	case "callback_received":
		return events.TypeCallbackReceived
	case "sync_requested":
		return events.TypeSyncRequested
	}
	return events.TypeErasureRequested
}

// decode decodes any input.
func decode(e events.Envelope) (any, error) {
	switch e.Type {
	case events.TypeConnectRequested:
		return events.DecodeConnectRequested(e)
	case events.TypeCallbackReceived:
		return events.DecodeCallbackReceived(e)
	case events.TypeSyncRequested:
		return events.DecodeSyncRequested(e)
	default:
		return events.DecodeErasureRequested(e)
	}
}

func TestNoGoldenWithoutAnEvent(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	want := len(allTypes()) + 2 // and the keep-alive's, which is internal, and a part that refers to the object store
	if err != nil || len(files) != want {
		t.Errorf("%d goldens, %v, want %d: %s", len(files), err, want, strings.Join(files, " "))
	}
}
