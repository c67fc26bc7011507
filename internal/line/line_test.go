package line_test

import (
	"testing"

	"github.com/finx-connector/finx-connector/internal/line"
)

func TestOneLineIsLeft(t *testing.T) {
	for _, c := range []struct {
		text string
		most int
		want string
	}{
		{"", 10, ""},
		{" a\r\nb\u2028c\x1b[31m ", 20, "a  b c [31m"},
		{"\xff", 10, "?"},
		{"abcdef", 3, "abc"},
		{"ab\u00fc", 3, "ab"}, // half a letter is none
	} {
		if got := line.Of(c.text, c.most); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}
