//go:build crashpoints

package crashpoint

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// variable arms points, as a comma list of name=action: FINX_CRASHPOINTS=
// "refresh.marked=kill,exchange.stored=stop". A name may carry the number of the
// time that it is reached, from 1: "refresh.marked#2=kill". Actions are kill
// (SIGKILL) and stop (SIGSTOP). Each fires once.
const variable = "FINX_CRASHPOINTS"

// stopWithin is how soon SIGSTOP has reached every thread. A process that is
// stopped for longer goes on at once when it is continued.
const stopWithin = time.Second

type armed struct {
	mu    sync.Mutex
	count map[string]int
}

var points = armed{count: map[string]int{}}

// Reached kills or stops this process if the environment says so.
func Reached(name string) {
	points.mu.Lock()
	points.count[name]++
	n := points.count[name]
	points.mu.Unlock()
	for one := range strings.SplitSeq(os.Getenv(variable), ",") {
		at, action, _ := strings.Cut(one, "=")
		at, number, counted := strings.Cut(at, "#")
		if at != name || !counted && n != 1 || counted && number != strconv.Itoa(n) {
			continue
		}
		_, _ = os.Stderr.WriteString("crashpoint " + one + "\n")
		signal := syscall.SIGKILL
		if action == "stop" {
			signal = syscall.SIGSTOP
		}
		_ = syscall.Kill(os.Getpid(), signal)
		// The signal may need a moment; nothing may happen in it.
		if signal == syscall.SIGKILL {
			select {}
		}
		time.Sleep(stopWithin) //nolint:forbidigo // nothing here can be waited for: this process is not running
	}
}
