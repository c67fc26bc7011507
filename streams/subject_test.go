package streams

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCovers(t *testing.T) {
	for _, tc := range []struct {
		outer, inner string
		want         bool
	}{
		{"a.b", "a.b", true},
		{"a.b", "a.c", false},
		{"a.b", "a.b.c", false},
		{"a.*", "a.b", true},
		{"a.*", "a.*", true},
		{"a.b", "a.*", false},
		{"a.>", "a", false},
		{"a.>", "a.b", true},
		{"a.>", "a.b.c", true},
		{"a.>", "a.>", true},
		{"a.*", "a.>", false},
		{"a.*.>", "a.>", false},
		{"a.>", "a.*.>", true},
		{">", "a", true},
		{"*.b", "a.b", true},
	} {
		if got := covers(tc.outer, tc.inner); got != tc.want {
			t.Errorf("covers(%q, %q) = %v", tc.outer, tc.inner, got)
		}
	}
}

func TestOverlap(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"a.*", "a.b", true},
		{"a.*", "*.b", true},
		{"a.b", "a.c", false},
		{"a.>", "a", false},
		{"a.>", "a.b.c", true},
		{"a.b", "a.b.c", false},
		{"a.b.>", "a.*.c", true},
	} {
		if got := overlap(tc.a, tc.b); got != tc.want || overlap(tc.b, tc.a) != tc.want {
			t.Errorf("overlap(%q, %q) = %v and %v the other way", tc.a, tc.b, got, overlap(tc.b, tc.a))
		}
	}
}

// TestUnionCoversBoth: whatever was held is held still, whatever is wanted is
// held too, and a second union adds nothing.
func TestUnionCoversBoth(t *testing.T) {
	pattern := rapid.Custom(func(t *rapid.T) string {
		tokens := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "*"}), 1, 3).Draw(t, "tokens")
		if rapid.Bool().Draw(t, "open") {
			tokens = append(tokens, ">")
		}
		return strings.Join(tokens, ".")
	})
	rapid.Check(t, func(t *rapid.T) {
		have := rapid.SliceOfN(pattern, 0, 4).Draw(t, "have")
		want := rapid.SliceOfN(pattern, 1, 4).Draw(t, "want")
		got := union(have, want)
		for _, s := range append(slices.Clone(have), want...) {
			if !coveredByAny(got, s) {
				t.Fatalf("union(%v, %v) = %v lost %s", have, want, got, s)
			}
		}
		if again := union(got, want); !slices.Equal(again, got) {
			t.Fatalf("union is not idempotent: %v then %v", got, again)
		}
	})
}
