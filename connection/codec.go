package connection

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// Version is the layout this program writes and the highest it reads. It is
// raised only when an older program would misread the new layout; a member
// that an older program may ignore is added without raising it, because Decode
// and Encode carry unknown members through.
const Version = 1

// VersionError is a record written by a newer program. It goes away when this
// replica has been upgraded, so the event that met it is worth another try.
type VersionError struct {
	ID  string
	Got int
}

// Error names both versions.
func (e *VersionError) Error() string {
	return fmt.Sprintf("connection: decoding record %s: version %d is newer than %d, the highest this program reads",
		e.ID, e.Got, Version)
}

// Encode returns r as JSON, in the layout Version, with the unknown members it
// was read with.
func Encode(r Record) ([]byte, error) {
	r.V = Version
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("connection: encoding record: %w", err)
	}
	known, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("connection: encoding record: %w", err)
	}
	if len(r.extra) == 0 {
		return known, nil
	}
	extra, err := json.Marshal(r.extra)
	if err != nil {
		return nil, fmt.Errorf("connection: encoding record: unknown members: %w", err)
	}
	// Both are objects with at least one member: join them at the braces.
	return append(append(known[:len(known)-1], ','), extra[1:]...), nil
}

// Decode reads what Encode wrote. Errors: *VersionError for a higher version,
// a plain one for anything that is not a whole record.
func Decode(data []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return Record{}, misfit(data, err)
	}
	if r.V > Version {
		return Record{}, &VersionError{ID: r.ID, Got: r.V}
	}
	if err := r.check(); err != nil {
		return Record{}, fmt.Errorf("connection: decoding record: %w", err)
	}
	if knowsAll(data) {
		return r, nil
	}
	all := map[string]json.RawMessage{}
	if err := json.Unmarshal(data, &all); err != nil {
		return Record{}, fmt.Errorf("connection: decoding record: %w", err)
	}
	for name := range all {
		if isMember(name) {
			delete(all, name)
		}
	}
	if len(all) > 0 {
		r.extra = all
	}
	return r, nil
}

// misfit says why data does not fit Record: a newer layout may not fit at all.
func misfit(data []byte, err error) error {
	var head struct {
		V  int    `json:"v"`
		ID string `json:"id"`
	}
	if json.Unmarshal(data, &head) == nil && head.V > Version {
		return &VersionError{ID: head.ID, Got: head.V}
	}
	return fmt.Errorf("connection: decoding record: %w", err)
}

// knowsAll reports whether the members of a JSON object are all of Record's. It
// looks at their names only: nearly every record has no others, and to take one
// apart again costs as much as decoding it. data must be valid.
func knowsAll(data []byte) bool {
	known := memberSet()
	depth, name := 0, false // name: the next string is that of a member
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '{', '[':
			depth++
			name = depth == 1
		case '}', ']':
			depth--
		case ',':
			name = depth == 1
		case '"':
			start := i + 1
			for i = start; data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
			if name && !known[string(data[start:i])] {
				return false
			}
			name = false
		}
	}
	return true
}

func (r Record) check() error {
	switch {
	case r.V < 1:
		return errors.New("v: no layout version")
	case r.ID == "":
		return errors.New("id: missing")
	case !r.State.Valid():
		return fmt.Errorf("state: unknown state %q", r.State)
	}
	return nil
}

// members returns the names in Record's JSON. They are looked up once: a walk
// over all records decodes millions.
var members = sync.OnceValue(func() []string { //nolint:gochecknoglobals // computed from the type, never changed
	var names []string
	for f := range reflect.TypeFor[Record]().Fields() {
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag != "" {
			names = append(names, tag)
		}
	}
	return names
})

// memberSet returns the same as a set.
var memberSet = sync.OnceValue(func() map[string]bool { //nolint:gochecknoglobals // as above
	set := make(map[string]bool, len(members()))
	for _, name := range members() {
		set[name] = true
	}
	return set
})

// isMember reports whether name is a member of Record's JSON. encoding/json
// matches names without regard to case, so this does too.
func isMember(name string) bool {
	return slices.ContainsFunc(members(), func(member string) bool { return strings.EqualFold(member, name) })
}
