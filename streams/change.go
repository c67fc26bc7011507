package streams

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Action is what becomes of a difference.
type Action string

// The three things a difference can call for.
const (
	Create Action = "create" // Apply makes it
	Update Action = "update" // Apply adds or raises it
	Manual Action = "manual" // Apply leaves it: it would loosen, lose or cannot be done; see Remedy
)

// Kind is what kind of thing differs.
type Kind string

// The kinds of things there are.
const (
	KindStream   Kind = "stream"
	KindConsumer Kind = "consumer"
	KindBucket   Kind = "bucket"
	KindObjects  Kind = "object store"
)

// Change is one difference between what is and what is wanted.
type Change struct {
	Action Action `json:"action"`
	Kind   Kind   `json:"kind"`
	Name   string `json:"name"`
	Stream string `json:"stream,omitempty"` // of a consumer
	Field  string `json:"field,omitempty"`  // empty when the whole thing is missing
	Is     string `json:"is,omitempty"`
	Want   string `json:"want,omitempty"`
	Remedy string `json:"remedy,omitempty"` // what a human does about a Manual one
}

// String returns the change as one line.
func (c Change) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-6s  %s %s", c.Action, c.Kind, c.Name)
	if c.Stream != "" {
		fmt.Fprintf(&b, " on %s", c.Stream)
	}
	if c.Field != "" {
		fmt.Fprintf(&b, ": %s", c.Field)
	}
	switch {
	case c.Is != "" && c.Want != "":
		fmt.Fprintf(&b, ": is %s, want %s", c.Is, c.Want)
	case c.Want != "":
		fmt.Fprintf(&b, ": %s", c.Want)
	}
	if c.Remedy != "" {
		fmt.Fprintf(&b, "; remedy: %s", c.Remedy)
	}
	return b.String()
}

// WriteText writes one line a change, or that there is none.
func WriteText(w io.Writer, changes []Change) error {
	if len(changes) == 0 {
		_, err := fmt.Fprintln(w, "no changes: streams, consumers and buckets are as they should be")
		return err
	}
	for _, c := range changes {
		if _, err := fmt.Fprintln(w, c); err != nil {
			return err
		}
	}
	return nil
}

// WriteJSON writes the changes as a JSON array, empty when there are none.
func WriteJSON(w io.Writer, changes []Change) error {
	if changes == nil {
		changes = []Change{}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(changes)
}

// Pending returns the changes Apply would make.
func Pending(changes []Change) []Change {
	return pick(changes, func(a Action) bool { return a != Manual })
}

// Left returns the changes Apply leaves to a human.
func Left(changes []Change) []Change {
	return pick(changes, func(a Action) bool { return a == Manual })
}

func pick(changes []Change, want func(Action) bool) []Change {
	var out []Change
	for _, c := range changes {
		if want(c.Action) {
			out = append(out, c)
		}
	}
	return out
}
