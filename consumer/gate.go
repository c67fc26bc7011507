package consumer

import "context"

// Gate says how much a lane may take. While it is closed the lane has no pull open
// at the server and holds no slot, so whatever waits for it waits in its stream.
// It must be safe for concurrent use.
type Gate interface {
	// Wait blocks while nothing may be taken and returns how many deliveries may be
	// taken now, of the n there is room for. Less than n is an answer too: a single
	// one finds out whether a server is back. 0 says that ctx has ended.
	Wait(ctx context.Context, n int) int
	// Closed says in words an operator can act on why nothing may be taken, and is
	// empty when something may. It is asked often and must not block.
	Closed() string
}

// closed says why the lane may take nothing.
func (l *lane) closed() string {
	if l.Gate == nil {
		return ""
	}
	return l.Gate.Closed()
}

// admit waits until something may be taken and for a free slot, takes as many
// slots as there are and may be, up to limit, and returns how many. It returns 0
// when ctx is done.
func (l *lane) admit(ctx context.Context, limit int) int {
	n := l.take(ctx, limit)
	if n == 0 || l.Gate == nil {
		return n
	}
	// The wait at a closed gate can last for hours. No slot is held meanwhile.
	l.releaseAll(n)
	l.gated()
	n = l.Gate.Wait(ctx, n)
	if n <= 0 {
		return 0
	}
	l.gated()
	return l.take(ctx, n)
}

// gated notes whether the gate is open, for the status and the log, whoever looks
// first: the lane, or somebody who asks for its status.
func (l *lane) gated() {
	why := l.closed()
	switch {
	case !l.status.gated(why):
	case why != "":
		l.log.Warn("lane takes nothing", "why", why)
	default:
		l.log.Info("lane takes work again")
	}
}
