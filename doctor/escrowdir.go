package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// checkEscrowDir looks at the directory for sealed answers of this host: it must be
// writable, should be nobody else's, and holds files only while something waits.
func checkEscrowDir(sheet *Sheet, dir string) {
	const name = "ESCROW_DIR"
	info, err := os.Stat(dir)
	if os.IsNotExist(err) {
		if err := tryMaking(dir); err != nil {
			sheet.fail(GroupSettings, name, dir+" is not there and cannot be made: "+plain(err), "make it, for the user that serve runs as: install -d -m 700 "+dir)
			return
		}
		sheet.ok(GroupSettings, name, dir+" is not there yet; serve makes it")
		return
	}
	if err != nil {
		sheet.fail(GroupSettings, name, dir+" cannot be looked at: "+plain(err), "make it readable and writable to the user that serve runs as")
		return
	}
	if !info.IsDir() {
		sheet.fail(GroupSettings, name, dir+" is no directory", "set ESCROW_DIR to a directory on a volume that survives the process")
		return
	}
	probe, err := os.CreateTemp(dir, "doctor*.half") // the name under which serve writes, and clears away should we be killed here
	if err != nil {
		sheet.fail(GroupSettings, name, dir+" cannot be written to: "+plain(err), "make it writable to the user that serve runs as, or empty the setting")
		return
	}
	_ = probe.Close()
	_ = os.Remove(probe.Name())
	entries, err := os.ReadDir(dir)
	if err != nil {
		sheet.fail(GroupSettings, name, dir+" cannot be listed: "+plain(err), "make it readable to the user that serve runs as")
		return
	}
	sealed := 0
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".sealed") {
			sealed++
		}
	}
	const others = 0o007
	switch {
	case info.Mode().Perm()&others != 0:
		sheet.warn(GroupSettings, name, fmt.Sprintf("%s is open to everybody on this host (mode %04o); what lies there is sealed all the same", dir, info.Mode().Perm()), "chmod 700 "+dir)
	case sealed > 0:
		sheet.warn(GroupSettings, name, fmt.Sprintf("%d sealed answers lie in %s", sealed, dir), "run serve on this host with the same keys: it brings them to Vault")
	default:
		sheet.ok(GroupSettings, name, dir+" is writable and holds nothing")
	}
}

// tryMaking tries whether dir could be made, by a directory of another name in the
// nearest place above it that is there, and leaves nothing behind.
func tryMaking(dir string) error {
	above := filepath.Dir(filepath.Clean(dir))
	for {
		_, err := os.Stat(above)
		if err == nil {
			break
		}
		if next := filepath.Dir(above); os.IsNotExist(err) && next != above {
			above = next
			continue
		}
		return err
	}
	probe, err := os.MkdirTemp(above, ".finx-connector-doctor*")
	if err != nil {
		return err
	}
	return os.Remove(probe)
}
