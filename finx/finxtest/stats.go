package finxtest

import "maps"

// Stats counts what happened since New or Reset.
type Stats struct {
	LinksCreated   int `json:"links_created"`
	Approved       int `json:"approved"`
	Cancelled      int `json:"cancelled"`
	Failed         int `json:"failed"`
	CodesIssued    int `json:"codes_issued"`
	CodesExchanged int `json:"codes_exchanged"`
	CodesReused    int `json:"codes_reused"`
	CodesExpired   int `json:"codes_expired"`
	// Refreshes counts every accepted refresh; Rotations those that made a new
	// refresh token, GraceAnswers those that got the same pair again, of codes too.
	Refreshes       int `json:"refreshes"`
	Rotations       int `json:"rotations"`
	GraceAnswers    int `json:"grace_answers"`
	RefreshesReused int `json:"refreshes_reused"`
	// Revocations counts calls that revoked something; FamiliesRevoked the
	// token families ended by these, by reuse and by the user.
	Revocations     int `json:"revocations"`
	FamiliesRevoked int `json:"families_revoked"`

	TransactionsServed int `json:"transactions_served"`
	Throttled          int `json:"throttled"`
	Busy               int `json:"busy"`
	// MaxConcurrentPerUser is the most data calls of one user at the same time.
	MaxConcurrentPerUser int `json:"max_concurrent_per_user"`

	// Calls counts by call name and status, Paths by "METHOD pattern" and
	// status. Status 0: the connection was dropped without an answer.
	Calls map[string]map[int]int `json:"calls"`
	Paths map[string]map[int]int `json:"paths"`
}

func newStats() Stats {
	return Stats{Calls: map[string]map[int]int{}, Paths: map[string]map[int]int{}}
}

func (st Stats) count(call, path string, status int) {
	increment(st.Calls, call, status)
	increment(st.Paths, path, status)
}

func increment(m map[string]map[int]int, key string, status int) {
	if m[key] == nil {
		m[key] = map[int]int{}
	}
	m[key][status]++
}

// Total returns the number of calls of that name, whatever the answer.
func (st Stats) Total(call string) int {
	n := 0
	for _, v := range st.Calls[call] {
		n += v
	}
	return n
}

// Stats returns a copy of the counters.
func (s *Sandbox) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Calls, st.Paths = cloneCounts(st.Calls), cloneCounts(st.Paths)
	return st
}

func cloneCounts(m map[string]map[int]int) map[string]map[int]int {
	out := make(map[string]map[int]int, len(m))
	for k, v := range m {
		out[k] = maps.Clone(v)
	}
	return out
}
