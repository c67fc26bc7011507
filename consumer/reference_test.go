package consumer

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
)

func TestReferenceComesBackAsItWent(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 5, time.UTC)
	for _, first := range []time.Time{{}, at} {
		want := reference{
			V: 1, Stream: "team-7_inputs", Sequence: 1 << 60, Subject: "acme.callback.received", Lane: "callbacks", Durable: "finx-callbacks",
			Attempts: 3, Failures: 2, Tries: 4, FirstFailure: first, ParkedAt: at,
		}
		for _, c := range []events.Codec{{}, {Prefix: "acme.prod"}} {
			raw, err := json.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(raw), "0001-01-01") {
				t.Errorf("a time that is none is written: %s", raw)
			}
			got, err := parseReference(c, want.dueOn(c), raw)
			if err != nil || got != want || !isParked(c, want.dueOn(c)) || isParked(c, want.waitsOn(c)) {
				t.Errorf("%+v, %v; want %+v", got, err, want)
			}
		}
	}
}

// malformedReferences are bodies that came due on finx.due.park.S.7, by what is
// wrong with them.
func malformedReferences() map[string]string {
	return map[string]string{
		"not as it is written": `{"v":1,"stream":"S","sequence":"tok-s3cret","lane":"l"}`,
		"v":                    `{"v":0,"stream":"S","sequence":7,"lane":"l"}`,
		"stream":               `{"v":1,"stream":"S.>","sequence":7,"lane":"l"}`,
		"sequence: missing":    `{"v":1,"stream":"S","lane":"l"}`,
		"sequence: not that":   `{"v":1,"stream":"S","sequence":8,"lane":"l"}`,
		"lane":                 `{"v":1,"stream":"S","sequence":7}`,
		"attempts":             `{"v":1,"stream":"S","sequence":7,"lane":"l","attempts":-1}`,
	}
}

func TestMalformedReferences(t *testing.T) {
	for want, raw := range malformedReferences() {
		_, err := parseReference(events.Codec{}, "finx.due.park.S.7", []byte(raw))
		if fault.Of(err) != fault.GiveUp || fault.ClassOf(err) != fault.Malformed || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v, want malformed and %q", raw, err, want)
		}
	}
}

// What a newer program parked waits for one, whatever its members are by then.
func TestNewerReferencesWait(t *testing.T) {
	for _, raw := range []string{`{"v":2,"stream":"S","sequence":7,"lane":"l"}`, `{"v":2,"stream":{"name":"S"}}`} {
		_, err := parseReference(events.Codec{}, "finx.due.park.S.7", []byte(raw))
		if !errors.Is(err, errNewer) || fault.Of(err) == fault.GiveUp || !strings.Contains(err.Error(), "version 2, the highest that is read is 1") {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func FuzzReference(f *testing.F) {
	f.Add([]byte(`{"v":1,"stream":"S","sequence":7,"lane":"l","attempts":1,"first_failure":"2026-11-22T12:00:00Z"}`))
	for _, raw := range malformedReferences() {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c := events.Codec{}
		r, err := parseReference(c, "finx.due.park.S.7", raw)
		if err != nil {
			if fault.ClassOf(err) != fault.Malformed && !errors.Is(err, errNewer) {
				t.Errorf("%q: %v", raw, err)
			}
			return
		}
		if r.Stream != "S" || r.Sequence != 7 || r.Lane == "" || r.Attempts < 0 || r.dueOn(c) != "finx.due.park.S.7" {
			t.Errorf("%q is read as %+v", raw, r)
		}
	})
}
