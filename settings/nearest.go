package settings

import (
	"fmt"
	"slices"
	"strings"
)

// nearest returns the known key that is nearest to name, or "" when none is near.
func nearest(name string, known []string) string {
	lower := strings.ToLower(name)
	best, bestDistance := "", max(2, len(name)/4)+1
	for _, k := range known {
		if d := distance(lower, k); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// didYouMean is the end of an error about an unknown name.
func didYouMean(name string) string {
	if name == "" {
		return ""
	}
	return "; did you mean " + name + "?"
}

// shortened keeps a key that is no key (a pasted secret, a whole file on one
// line) from filling an error.
func shortened(name string) string {
	const most = 64
	if len(name) > most || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) {
		return fmt.Sprintf("a key of %d bytes", len(name))
	}
	return name
}

// distance is the number of insertions, deletions and replacements between two
// short texts (Levenshtein).
func distance(a, b string) int {
	const most = 64
	if len(a) > most || len(b) > most {
		return most
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// unknownVariables returns a warning for each variable of the environment that
// looks like one of finX's and is none: a typing error would otherwise go
// unnoticed. Other prefixes are shared with other programs.
func unknownVariables(environ []string) []string {
	known := knownKeys()
	var warnings []string
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		key := strings.ToLower(name)
		if strings.HasPrefix(name, "FINX_") && !slices.Contains(known, key) {
			warnings = append(warnings, shortened(name)+": unknown variable, ignored"+didYouMean(strings.ToUpper(nearest(key, known))))
		}
	}
	slices.Sort(warnings)
	return warnings
}
