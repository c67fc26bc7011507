package connectionkv

import (
	"errors"
	"fmt"
	"time"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/internal/fault"
)

// noteVersion is the layout of bindings and of what is kept for a while only: leases,
// replicas and suspects.
const noteVersion = 1

// upgradeWait is when what a newer program wrote is looked at again: by a replica
// that has been upgraded meanwhile, or by this one after it has.
const upgradeWait = time.Minute

// checkVersion refuses what a newer program wrote. It waits, without an attempt being
// counted, until a replica reads it that can.
func checkVersion(what string, v int) error {
	if v <= noteVersion {
		return nil
	}
	return newer(fmt.Errorf("decoding %s: version %d is newer than %d, the highest this program reads", what, v, noteVersion))
}

func newer(err error) error { return fault.Throttled("", time.Now().Add(upgradeWait), err) }

// judgeDecoding gives a record that cannot be read its verdict: a newer one waits.
func judgeDecoding(err error) error {
	if _, is := errors.AsType[*connection.VersionError](err); is {
		return newer(err)
	}
	return err
}
