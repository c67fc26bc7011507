package streams

import (
	"slices"
	"strings"
)

// covers reports whether every subject that matches inner matches outer too.
func covers(outer, inner string) bool {
	o, i := strings.Split(outer, "."), strings.Split(inner, ".")
	for n, tok := range o {
		if tok == ">" {
			return len(i) > n
		}
		if n >= len(i) || i[n] == ">" || (tok != "*" && tok != i[n]) {
			return false
		}
	}
	return len(i) == len(o)
}

// overlap reports whether some subject matches both patterns.
func overlap(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for n := range min(len(x), len(y)) {
		if x[n] == ">" || y[n] == ">" {
			return true
		}
		if x[n] != y[n] && x[n] != "*" && y[n] != "*" {
			return false
		}
	}
	return len(x) == len(y)
}

func coveredByAny(outers []string, inner string) bool {
	return slices.ContainsFunc(outers, func(o string) bool { return covers(o, inner) })
}

// missing returns the wanted subjects that have does not cover.
func missing(have, want []string) []string {
	var out []string
	for _, w := range want {
		if !coveredByAny(have, w) {
			out = append(out, w)
		}
	}
	return out
}

// union adds what is missing and drops what the addition covers, because the
// broker refuses patterns of one stream or consumer that overlap.
func union(have, want []string) []string {
	add := missing(have, want)
	out := slices.DeleteFunc(slices.Clone(have), func(h string) bool { return coveredByAny(add, h) })
	return append(out, add...)
}
