package vaultstore

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// listAnswer is what Vault 1.13 answers to a list, with these keys.
func listAnswer(keys ...string) string {
	for i, key := range keys {
		keys[i] = fmt.Sprintf("%q", key)
	}
	return `{"request_id":"r","lease_id":"","renewable":false,"lease_duration":0,"data":{"keys":[` + strings.Join(keys, ",") +
		`]},"wrap_info":null,"warnings":null,"auth":null}` + "\n"
}

func TestEachKey(t *testing.T) {
	for name, tt := range map[string]struct {
		answer string
		keys   []string
		found  bool
		bad    bool
	}{
		"keys":              {answer: listAnswer("a", "b/", "c"), keys: []string{"a", "b/", "c"}, found: true},
		"none":              {answer: listAnswer(), found: true},
		"escaped":           {answer: listAnswer(`a"b`, "c\u2028"), keys: []string{`a"b`, "c\u2028"}, found: true},
		"other members":     {answer: `{"a":{"keys":["x"]},"data":{"key_info":{"keys":["y"]},"keys":["z"]}}`, keys: []string{"z"}, found: true},
		"no data":           {answer: `{"data":null}`},
		"no keys":           {answer: `{"data":{}}`},
		"no member at all":  {answer: `{}`},
		"not an object":     {answer: `[1]`, bad: true},
		"a page of a proxy": {answer: `<html>canary-9f</html>`, bad: true},
		"nothing":           {answer: ``, bad: true},
		"keys of others":    {answer: `{"data":{"keys":["a",7]}}`, keys: []string{"a"}, bad: true},
		"keys no list":      {answer: `{"data":{"keys":"a"}}`, bad: true},
		"null keys":         {answer: `{"data":{"keys":null}}`, bad: true},
	} {
		var got []string
		found, err := eachKey(strings.NewReader(tt.answer), func(key string) error { got = append(got, key); return nil })
		if found != tt.found || (err != nil) != tt.bad || !slices.Equal(got, tt.keys) {
			t.Errorf("%s: %q, %t, %v", name, got, found, err)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error quotes the answer: %v", name, err)
		}
	}
}

// A cut list must never pass for a whole one: what is missing would not be swept.
func TestEachKeyNoticesEveryCut(t *testing.T) {
	answer := listAnswer("aa", "bb", "cc")
	whole := strings.Index(answer, "]") + 1
	for n := range len(answer) {
		keys := 0
		found, err := eachKey(strings.NewReader(answer[:n]), func(string) error { keys++; return nil })
		if ok := found && err == nil; ok != (n >= whole) || (ok && keys != 3) {
			t.Errorf("cut after %d of %d: %d keys, %t, %v", n, len(answer), keys, found, err)
		}
	}
}

func TestEachKeyStopsWhenAsked(t *testing.T) {
	enough := errors.New("enough")
	_, err := eachKey(strings.NewReader(listAnswer("a", "b")), func(string) error { return enough })
	if !errors.Is(err, enough) {
		t.Error(err)
	}
}

func FuzzEachKey(f *testing.F) {
	f.Add(listAnswer("a", "b"))
	f.Add(`{"data":{"keys":["a",{}]}}`)
	f.Add(`{"data":[]}`)
	f.Fuzz(func(t *testing.T, answer string) {
		found, err := eachKey(strings.NewReader(answer), func(string) error { return nil })
		if found && err != nil {
			t.Errorf("found and %v", err)
		}
	})
}
