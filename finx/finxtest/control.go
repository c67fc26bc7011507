package finxtest

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"time"
)

// controlRoutes adds the endpoints below /_sandbox/. They carry no secret of
// their own, so they answer loopback callers only, unless the options open them.
func (s *Sandbox) controlRoutes(m *http.ServeMux) {
	route := func(pattern string, h func(*http.Request) (any, error)) {
		m.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.control(w, r, h) })
	}
	route("GET /_sandbox/faults", func(*http.Request) (any, error) {
		return map[string]any{"faults": s.Faults()}, nil
	})
	route("POST /_sandbox/faults", s.postFault)
	route("DELETE /_sandbox/faults", func(*http.Request) (any, error) {
		s.ClearFaults()
		return struct{}{}, nil
	})
	route("GET /_sandbox/stats", func(*http.Request) (any, error) { return s.Stats(), nil })
	route("POST /_sandbox/reset", func(*http.Request) (any, error) {
		s.Reset()
		return struct{}{}, nil
	})
	route("POST /_sandbox/approve", s.postApprove)
	route("POST /_sandbox/users", s.postUser)
	route("POST /_sandbox/grow", s.postGrow)
	route("POST /_sandbox/revoke", s.postRevokeUser)
	route("GET /_sandbox/clock", func(*http.Request) (any, error) { return s.clockJSON(), nil })
	route("POST /_sandbox/clock", s.postClock)
}

// control answers one control request: 200 with JSON, 400 with what is wrong.
func (s *Sandbox) control(w http.ResponseWriter, r *http.Request, h func(*http.Request) (any, error)) {
	if !s.opts.ControlFromAnywhere && !fromLoopback(r) {
		writeControlError(w, http.StatusForbidden, "the controls answer loopback callers only")
		return
	}
	if err := s.origin.Check(r); err != nil {
		writeControlError(w, http.StatusForbidden, "the controls take no requests of other sites' pages")
		return
	}
	v, err := h(r)
	if err != nil {
		status := http.StatusBadRequest
		if errors.Is(err, ErrNoSuchLink) {
			status = http.StatusNotFound
		}
		writeControlError(w, status, err.Error())
		return
	}
	writeJSON(w, http.StatusOK, v)
}

func writeControlError(w http.ResponseWriter, status int, text string) {
	writeJSON(w, status, map[string]string{"error": text})
}

func fromLoopback(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	return err == nil && net.ParseIP(host).IsLoopback()
}

// readControl reads a control body; a misspelt field would otherwise be a fault
// that never happens.
func readControl(r *http.Request, v any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	return d.Decode(v)
}

func (s *Sandbox) postFault(r *http.Request) (any, error) {
	var f Fault
	if err := readControl(r, &f); err != nil {
		return nil, err
	}
	id, err := s.AddFault(f)
	return map[string]int{"id": id}, err
}

func (s *Sandbox) postApprove(r *http.Request) (any, error) {
	body := struct {
		Location string `json:"location"`
		Action   Action `json:"action"`
		Bank     string `json:"bank"`
	}{Action: Approve}
	if err := readControl(r, &body); err != nil {
		return nil, err
	}
	u, err := s.Act(body.Location, body.Action, body.Bank)
	if err != nil {
		return nil, err
	}
	return map[string]string{"redirect": u.String()}, nil
}

func (s *Sandbox) postUser(r *http.Request) (any, error) {
	var u User
	if err := readControl(r, &u); err != nil {
		return nil, err
	}
	return struct{}{}, s.SetUser(u)
}

func (s *Sandbox) postGrow(r *http.Request) (any, error) {
	var body struct {
		UserID       string `json:"user_id"`
		Account      int    `json:"account"`
		Transactions int    `json:"transactions"`
	}
	if err := readControl(r, &body); err != nil {
		return nil, err
	}
	return struct{}{}, s.Grow(body.UserID, body.Account, body.Transactions)
}

func (s *Sandbox) postRevokeUser(r *http.Request) (any, error) {
	var body struct {
		UserID string `json:"user_id"`
	}
	if err := readControl(r, &body); err != nil {
		return nil, err
	}
	return map[string]int{"families_revoked": s.RevokeUser(body.UserID)}, nil
}

func (s *Sandbox) clockJSON() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]any{"now": s.now().Format(time.RFC3339Nano), "offset": Duration(s.clock)}
}

func (s *Sandbox) postClock(r *http.Request) (any, error) {
	var body struct {
		Advance Duration `json:"advance"`
	}
	if err := readControl(r, &body); err != nil {
		return nil, err
	}
	if body.Advance < 0 {
		return nil, errors.New("finxtest: advance: must not be negative")
	}
	s.Advance(time.Duration(body.Advance))
	return s.clockJSON(), nil
}
