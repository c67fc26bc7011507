package connectionkvtest_test

import (
	"testing"

	"github.com/finx-connector/finx-connector/connection/connectionkv/connectionkvtest"
)

func TestMemoryKeepsTheContract(t *testing.T) {
	connectionkvtest.Run(t, func(*testing.T) connectionkvtest.Store { return connectionkvtest.NewMemory() })
}

func TestEscrowInMemoryKeepsTheContract(t *testing.T) {
	connectionkvtest.RunEscrow(t, func(*testing.T) connectionkvtest.Bucket { return connectionkvtest.NewEscrow() })
}
