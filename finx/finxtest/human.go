package finxtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
)

// ErrNoSuchLink is returned for a location that the sandbox did not make, has
// forgotten in a Reset, or that has expired.
var ErrNoSuchLink = errors.New("finxtest: no such widget link")

// Action is how a human leaves the widget.
type Action string

// The three ways out of the widget.
const (
	Approve Action = "approve"
	Cancel  Action = "cancel"
	Fail    Action = "fail"
)

// Approve plays the human behind a widget link: chooses Mockbank, logs in,
// confirms all accounts. It returns the URL the browser is sent to. A link that
// was finished before gives the same URL again, as a double click does.
func (s *Sandbox) Approve(location string) (*url.URL, error) { return s.Act(location, Approve, "") }

// Cancel plays a human who gives up.
func (s *Sandbox) Cancel(location string) (*url.URL, error) { return s.Act(location, Cancel, "") }

// Fail plays a bank that refuses.
func (s *Sandbox) Fail(location string) (*url.URL, error) { return s.Act(location, Fail, "") }

// Act plays the human with a bank of choice (its name or id; empty is the
// preselected one, else Mockbank). Only the token of location matters.
func (s *Sandbox) Act(location string, action Action, bankName string) (*url.URL, error) {
	u, err := url.Parse(location)
	if err != nil {
		return nil, ErrNoSuchLink // url's own error would quote the token
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fl := s.flowOf(u.Query().Get("token"))
	if fl == nil {
		return nil, ErrNoSuchLink
	}
	if fl.step == stepDone {
		return url.Parse(fl.redirect)
	}
	if bankName != "" {
		b := findBank(bankName)
		if b == nil {
			return nil, fmt.Errorf("finxtest: no bank %q", bankName)
		}
		fl.bank = b
	}
	if fl.bank == nil {
		fl.bank = banks()[0]
	}
	switch action {
	case Approve:
		if fl.bank.Fails {
			s.finish(fl, Fail)
			break
		}
		s.connect(fl, nil)
		s.finish(fl, Approve)
	case Cancel, Fail:
		s.finish(fl, action)
	default:
		return nil, fmt.Errorf("finxtest: action %q is not approve, cancel or fail", action)
	}
	return url.Parse(fl.redirect)
}

// flowOf returns the living flow of a widget token. For holders of s.mu.
func (s *Sandbox) flowOf(token string) *flow {
	fl := s.flows[digestOf(token)]
	if fl == nil || (fl.step != stepDone && !s.now().Before(fl.expires)) {
		return nil
	}
	return fl
}

// finish ends the flow and fixes the URL the browser goes to. The parameters
// come in no particular order. For holders of s.mu.
func (s *Sandbox) finish(fl *flow, action Action) {
	var params []string
	add := func(k, v string) { params = append(params, k+"="+url.QueryEscape(v)) }
	if fl.state != "" {
		add("state", fl.state)
	}
	add("flow_id", fl.id)
	switch action {
	case Approve:
		s.stats.Approved++
		add("success", "true")
		if !fl.sync || !s.opts.SyncWithoutCode {
			add("code", s.newCode(fl.userID, fl.redirectURI))
		}
	case Cancel:
		s.stats.Cancelled++
		add("success", "false")
		add(s.opts.CancelParam, "true")
	default:
		s.stats.Failed++
		add("success", "false")
	}
	rand.Shuffle(len(params), func(i, j int) { params[i], params[j] = params[j], params[i] })
	joint := "?"
	if strings.Contains(fl.redirectURI, "?") {
		joint = "&"
	}
	fl.step, fl.problem = stepDone, ""
	fl.redirect = fl.redirectURI + joint + strings.Join(params, "&")
}
