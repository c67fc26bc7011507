package connectionkv

import "time"

// SetMarkerTTL makes markers of deleted values go sooner than after a minute.
func (e *Escrow) SetMarkerTTL(d time.Duration) { e.markerTTL = d }
