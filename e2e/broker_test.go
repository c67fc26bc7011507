package e2e_test

import (
	"testing"

	"github.com/finx-connector/finx-connector/internal/natstest"
)

// broker starts a broker and returns where it is.
type broker func(t testing.TB) (url string)

// The shapes a broker comes in.
func inProcess(t testing.TB) string { t.Helper(); return natstest.Start(t).URL() }

func ownProcess(t testing.TB) string { t.Helper(); return natstest.ExternalProcess(t).URL() }

func threeNodes(t testing.TB) string { t.Helper(); return natstest.Cluster(t, 3).URL() }
