package guard

import "time"

// ReadStatus returns what a state that the replicas share says, for whoever has no
// Guard of its own to ask.
func ReadStatus(shared []byte) (Status, error) {
	s, err := decode(shared)
	if err != nil {
		return Status{}, err
	}
	return Status{
		Open: s.isOpen(), Since: s.Since, Until: s.OpenUntil, Trips: s.Trips, Why: s.Why, Probation: s.isOnProbation(),
		Probing: s.probedBy(time.Now()) != "",
	}, nil
}
