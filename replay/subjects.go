package replay

import (
	"strings"

	"github.com/finx-connector/finx-connector/events"
)

// pattern returns the subject of a selection as this installation names it.
func pattern(codec events.Codec, subject string) string {
	if codec.Prefix == "" || subject == ">" || strings.HasPrefix(subject, codec.Prefix+".") {
		return subject
	}
	return codec.Subject(subject)
}

// andBelow returns a pattern and what has further tokens behind it.
func andBelow(p string) []string {
	if p == ">" || strings.HasSuffix(p, ".>") {
		return []string{p}
	}
	return []string{p, p + ".>"}
}

// overlap reports whether a subject can match both patterns.
func overlap(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := 0; ; i++ {
		switch {
		case i == len(x) || i == len(y):
			return len(x) == len(y)
		case x[i] == ">" || y[i] == ">":
			return true
		case x[i] != "*" && y[i] != "*" && x[i] != y[i]:
			return false
		}
	}
}

// anyOverlap reports whether some pattern of as and some of bs overlap.
func anyOverlap(as, bs []string) bool {
	for _, a := range as {
		for _, b := range bs {
			if overlap(a, b) {
				return true
			}
		}
	}
	return false
}

// outputSubjects returns what is to be read of the events for a selection. The
// broker leaves the rest out.
func (r *Replayer) outputSubjects(s Selection) []string {
	codec := r.cfg.Codec
	if s.Subject != "" {
		return andBelow(pattern(codec, s.Subject))
	}
	var all []string
	for _, typ := range events.OutputTypes() {
		if !events.HasConnection(typ) {
			continue
		}
		if r.cfg.PerConnection && s.Connection != "" {
			// Without a token: from before the setting was on.
			all = append(all, codec.Subject(typ), codec.OutputSubject(typ, s.Connection, true))
			continue
		}
		all = append(all, andBelow(codec.Subject(typ))...)
	}
	return all
}

// inputSubjects returns the groups that a selection may find something in, and
// what is to be read of their streams.
func (r *Replayer) inputSubjects(s Selection) (groups []inputGroup, subjects map[string][]string) {
	subjects = map[string][]string{}
	codec := r.cfg.Codec
	var chosen []string
	if s.Subject != "" {
		chosen = andBelow(pattern(codec, s.Subject))
	}
	for _, g := range r.inputGroups() {
		own := andBelow(codec.Subject(g.typ))
		if chosen != nil && !anyOverlap(chosen, own) {
			continue
		}
		groups = append(groups, g)
		if chosen == nil {
			subjects[g.stream] = append(subjects[g.stream], own...)
		} else {
			subjects[g.stream] = chosen
		}
	}
	return groups, subjects
}

// names reports whether the subject of a selection is that type and no other.
func (s Selection) names(codec events.Codec, typ string) bool {
	got, ok := codec.TypeOf(pattern(codec, s.Subject))
	return s.Subject != "" && ok && got == typ
}
