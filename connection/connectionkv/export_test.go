package connectionkv

import "time"

// SetMarkerTTL makes markers of deleted values go sooner than after a minute.
func (e *Escrow) SetMarkerTTL(d time.Duration) { e.markerTTL = d }

// SetPace makes a watch look at itself more often.
func (c *Control) SetPace(beat, compare time.Duration) { c.pace = pace{beat, compare} }

// SetSuspectTTL makes suspects be forgotten sooner than after a day.
func (c *Control) SetSuspectTTL(d time.Duration) { c.suspectTTL = d }
