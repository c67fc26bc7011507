package app

import (
	"strings"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/custody"
)

func TestReadinessSaysWhereTokensAre(t *testing.T) {
	const long = unstoredQuiet + time.Second
	for name, c := range map[string]struct {
		in   custody.Unstored
		want string
	}{
		"none":                  {custody.Unstored{}, ""},
		"on their way":          {custody.Unstored{Answers: 3, Oldest: time.Second}, ""},
		"all in escrow":         {custody.Unstored{Answers: 3, Oldest: long, Escrow: 3}, "tokens of 3 connections are in escrow"},
		"some on this host":     {custody.Unstored{Answers: 3, Oldest: long, Escrow: 1, Spool: 2}, "tokens of 2 connections are in ESCROW_DIR"},
		"one of them only here": {custody.Unstored{Answers: 3, Oldest: long, Escrow: 1, Spool: 1}, "tokens of 1 connections are in memory only"},
	} {
		err := inHand(c.in)
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
