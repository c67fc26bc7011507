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
		point, action, _ := strings.Cut(one, "=")
		point, number, counted := strings.Cut(point, "#")
		if point != name || !counted && n != 1 || counted && number != strconv.Itoa(n) {
			continue
		}
		_, _ = os.Stderr.WriteString("crashpoint " + one + "\n")
		signal, at := syscall.SIGKILL, time.Now()
		if action == "stop" {
			signal = syscall.SIGSTOP
		}
		_ = syscall.Kill(os.Getpid(), signal)
		// The signal may need a moment; nothing may happen in it.
		if signal == syscall.SIGKILL {
			select {}
		}
		for time.Since(at) < stopWithin {
			time.Sleep(time.Millisecond) //nolint:forbidigo // nothing here can be waited for: this process is about to be stopped
		}
	}
}
