package replay

import (
	"strings"
	"testing"

	"github.com/finx-connector/finx-connector/events"
)

func TestPatternsOverlap(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"a.b", "a.b", true},
		{"a.b", "a.c", false},
		{"a.b", "a", false},
		{"a.*", "a.b", true},
		{"a.*", "*.b", true},
		{"a.*", "a.b.c", false},
		{"a.>", "a.b.c", true},
		{"a.>", "a", false},
		{">", "a", true},
		{"a.>", "*.b.>", true},
		{"x.>", "a.>", false},
		{"*.b", "a.*.c", false},
		{"a.b.>", "a.*", false},
	} {
		if overlap(tc.a, tc.b) != tc.want || overlap(tc.b, tc.a) != tc.want {
			t.Errorf("%s and %s: want %v", tc.a, tc.b, tc.want)
		}
	}
}

func TestSubjectsAreToldFromOthers(t *testing.T) {
	for s, want := range map[string][2]bool{ // as a pattern, as a subject
		"a": {true, true}, "a.b": {true, true}, "a.*": {true, false}, "a.>": {true, false}, ">": {true, false}, "a.>.b": {false, false},
		"": {false, false}, "a..b": {false, false}, ".a": {false, false}, "a b": {false, false}, "a.\tb": {false, false}, "a.b*": {true, false},
	} {
		if isSubject(s, true) != want[0] || isSubject(s, false) != want[1] {
			t.Errorf("%q: want %v", s, want)
		}
	}
	acme := events.Codec{Prefix: "acme"}
	for subject, want := range map[string]string{"a.b": "acme.a.b", "acme.a.b": "acme.a.b", ">": ">", "acmes.a": "acme.acmes.a"} {
		if got := pattern(acme, subject); got != want {
			t.Errorf("%s: %s, want %s", subject, got, want)
		}
	}
}

func TestReasonsAreCutToWhatASyncRequestTakes(t *testing.T) {
	for _, s := range []string{"", "short", strings.Repeat("x", 1000), strings.Repeat("ä", 300)} {
		got := short(s)
		if len(got) > events.MaxReason || !strings.HasPrefix(s, got) || len(s) <= events.MaxReason && got != s || len(s) > events.MaxReason && len(got) < events.MaxReason-4 {
			t.Errorf("%d bytes became %d", len(s), len(got))
		}
	}
}

func TestCheckpointsOfOthersAreRefused(t *testing.T) {
	for value, want := range map[string]string{
		`{"v":2,"id":"x"}`: "version 2 is newer than 1", `{"v":1,"id":"y"}`: "not a whole one", `{"id":"x"}`: "not a whole one", `{"v":`: "not one", ``: "not one",
	} {
		if _, err := decodeCheckpoint("x", []byte(value)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", value, err)
		}
	}
	if c, err := decodeCheckpoint("x", []byte(`{"v":1,"id":"x"}`)); err != nil || c.Acked == nil {
		t.Errorf("%v, %+v", err, c)
	}
}

func TestIDsAreKeptSmall(t *testing.T) {
	id := events.UUIDv5("x")
	raw, ok := parseID(id)
	if !ok || formatID(raw) != id {
		t.Errorf("%s became %s", id, formatID(raw))
	}
	if _, ok := parseID("no-uuid"); ok {
		t.Error("anything is taken for an id")
	}
	a, b := listed{id: raw, calls: 1}, listed{id: raw, calls: 2}
	if got := lastOfEach([]listed{a, b}); len(got) != 1 || got[0].calls != 2 {
		t.Errorf("%+v", got)
	}
}
