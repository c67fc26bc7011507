package streams

import (
	"fmt"
	"strings"
	"time"
)

const (
	remedyImmutable = "cannot be changed on a living one: make it anew by hand once it is drained or backed up"
	remedyOwner     = "it belongs to another team: ask its owner"
)

// merge collects the differences of one thing. The rules are in mergeStream and
// mergeConsumer; here is only how a difference is written down.
type merge struct {
	kind    Kind
	name    string
	stream  string
	changes []Change
}

func (m *merge) add(a Action, field, is, want, remedy string) {
	m.changes = append(m.changes, Change{
		Action: a, Kind: m.kind, Name: m.name, Stream: m.stream, Field: field, Is: is, Want: want, Remedy: remedy,
	})
}

func (m *merge) update(field, is, want string) { m.add(Update, field, is, want, "") }

func (m *merge) manual(field, is, want, remedy string) { m.add(Manual, field, is, want, remedy) }

// enable turns a switch on that cannot hurt when on.
func (m *merge) enable(field string, is *bool, want bool) {
	if want && !*is {
		m.update(field, "off", "on")
		*is = true
	}
}

// mustBeOff reports a switch that hurts when on and that only a human may turn off.
func (m *merge) mustBeOff(field string, is, want bool, remedy string) {
	if is && !want {
		m.manual(field, "on", "off", remedy)
	}
}

// raiseWindow lengthens a duration that protects more when longer.
func (m *merge) raiseWindow(field string, is *time.Duration, want time.Duration) {
	if *is < want {
		m.update(field, is.String(), want.String())
		*is = want
	}
}

// unbound lifts a limit that ours must not have. Zero and less mean none.
func unbound[N int | int32 | int64](m *merge, field string, is *N, want N) {
	if want <= 0 && *is > 0 {
		m.update(field, fmt.Sprint(*is), "unlimited")
		*is = want
	}
}

// retain raises a limit on how much or how long is kept. Without a wish of ours
// the operator's limit stands, and so does a higher one; a limit where there was
// none would delete messages, so that is left to a human.
func retain[N int64 | time.Duration](m *merge, field string, is *N, want N) {
	switch {
	case want <= 0 || *is > want:
	case *is <= 0:
		m.manual(field, "unlimited", fmt.Sprint(want), "setting it deletes or refuses messages: do it by hand, or take the setting away")
	case *is < want:
		m.update(field, fmt.Sprint(*is), fmt.Sprint(want))
		*is = want
	}
}

func list(subjects []string) string {
	if len(subjects) == 0 {
		return "none"
	}
	return strings.Join(subjects, " ")
}
