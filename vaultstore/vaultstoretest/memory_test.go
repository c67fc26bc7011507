package vaultstoretest_test

import (
	"testing"

	"github.com/finx-connector/finx-connector/vaultstore/vaultstoretest"
)

func TestMemoryKeepsTheContract(t *testing.T) {
	t.Parallel()
	vaultstoretest.Run(t, func(*testing.T) vaultstoretest.Store { return vaultstoretest.NewMemory() })
}

func TestMemoryIsAlwaysReady(t *testing.T) {
	t.Parallel()
	if err := vaultstoretest.NewMemory().Check(t.Context()); err != nil {
		t.Error(err)
	}
}
