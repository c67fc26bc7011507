package doctor

import (
	"fmt"
	"slices"
	"time"

	"github.com/finx-connector/finx-connector/settings"
)

// Reading is the clock of a server beside ours.
type Reading struct {
	Of      string // whose
	Foreign bool   // not of this installation: only a hint
	Coarse  bool   // it names whole seconds
	Server  time.Time
	Ours    time.Time // by this machine's clock, when the answer came
}

// clock takes the first reading of a server.
func (s *Sheet) clock(r Reading) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := slices.ContainsFunc(s.readings, func(one Reading) bool { return one.Of == r.Of })
	if !s.closed && !known && !r.Server.IsZero() {
		s.readings = append(s.readings, r)
	}
}

// skewNoticed is what is worth a word. Below it lie the way of an answer and the
// rounding of clocks that name seconds.
const skewNoticed = 2 * time.Second

// Clocks returns what compares this machine's clock with those of the servers. now is
// this machine's clock; nil: time.Now.
//
// Processes may be CLOCK_SKEW apart at most: how old the mark of another process is
// decides whether its work is waited for. Each process is compared with the same
// servers, so further than that from one of them is further than that from others.
func Clocks(s settings.Settings, now func() time.Time) func(*Sheet) {
	var ahead time.Duration
	if now != nil {
		ahead = time.Until(now())
	}
	return func(sheet *Sheet) {
		if len(sheet.readings) == 0 {
			sheet.skip(GroupClock, "clock", "no server answered that says its time")
		}
		for _, r := range sheet.readings {
			skew := r.Ours.Add(ahead).Sub(r.Server)
			if r.Coarse { // on average it is half a second further than it says
				skew -= time.Second / 2
			}
			far, most := skew.Abs(), s.Handling.ClockSkew
			if far < skewNoticed {
				sheet.ok(GroupClock, r.Of, "as here, within 2s")
				continue
			}
			direction := "behind"
			if skew > 0 {
				direction = "ahead of"
			}
			sheet.judge(far > most && !r.Foreign, true, Finding{
				Group: GroupClock, Check: r.Of,
				Seen:   fmt.Sprintf("this machine is %s %s it; CLOCK_SKEW allows %s", far.Round(100*time.Millisecond), direction, most),
				Remedy: "set the clocks by NTP: `chronyc tracking` here and there; CLOCK_SKEW only if they cannot be mended",
			})
		}
	}
}
