package e2e_test

import (
	"slices"
	"testing"
	"time"
)

// TestCrashMatrixLong kills at the same moments under harder conditions, and
// holds what it counts to the same promises.
func TestCrashMatrixLong(t *testing.T) {
	long(t)
	all := slices.Concat(crashes(exchange), crashes(refresh))
	each := func(list []crash, of []provider) (cases []crashCase) {
		for _, c := range list {
			for _, p := range of {
				cases = append(cases, crashCase{c, p})
			}
		}
		return cases
	}
	play := func(with staging) func(*testing.T, crashCase) {
		return func(t *testing.T, c crashCase) { c.check(t, c.play(t, c.provider, with)) }
	}
	t.Run("the successor dies there too", func(t *testing.T) {
		var twice []crash
		for _, c := range all {
			if c.again {
				twice = append(twice, c.twice())
			}
		}
		sideBySide(t, scenesAtOnce, each(twice, providers), crashCase.name, play(staging{}))
	})
	t.Run("Vault is slow", func(t *testing.T) {
		// The answers of ⑦ are Vault's refusals, which cannot be slow as well.
		others := slices.DeleteFunc(slices.Clone(all), func(c crash) bool { return c.elsewhere })
		sideBySide(t, scenesAtOnce, each(others, providers), crashCase.name, play(staging{slowVault: 700 * time.Millisecond}))
	})
	t.Run("three brokers", func(t *testing.T) {
		// A cluster is three servers in this process: few at a time, and the provider that forgives least.
		sideBySide(t, 4, each(all, providers[2:]), crashCase.name, play(staging{broker: threeNodes}))
	})
}
