package e2e_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// wiretap is a broker's log in which everything is traced. It keeps who published
// and subscribed to which subject, and what the broker refused.
type wiretap struct {
	traced, violated *regexp.Regexp

	mu      sync.Mutex
	act     string // what is being done
	used    []use
	refused []use
	fresh   chan struct{} // closed and replaced at every refusal
}

// use is one subject that a user published or subscribed to.
type use struct {
	user, subject string // user: the nkey, or the name of one who has none
	subscribed    bool
	act           string
}

var _ server.Logger = (*wiretap)(nil)

// listenIn has the broker write to a wiretap. Who connects later is heard.
func listenIn(s *server.Server) *wiretap {
	w := &wiretap{
		// The lines that the broker writes of a client: what came in, what was refused.
		traced:   regexp.MustCompile(`"(?:FINX|UPSTREAM)/(?:nkey|user):([^"]+)" - <<- \[(PUB|HPUB|SUB) (\S+)`),
		violated: regexp.MustCompile(`"(?:FINX|UPSTREAM)/(?:nkey|user):([^"]+)" - (Publish|Subscription) Violation - Subject "([^"]+)"`),
		fresh:    make(chan struct{}),
	}
	s.SetLoggerV2(w, false, true, false)
	return w
}

func (w *wiretap) Tracef(format string, v ...any) {
	if strings.Contains(format, "PAYLOAD") { // long, and not asked for
		return
	}
	m := w.traced.FindStringSubmatch(fmt.Sprintf(format, v...))
	if m == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.used = append(w.used, use{user: m[1], subject: m[3], subscribed: m[2] == "SUB", act: w.act})
}

func (w *wiretap) Errorf(format string, v ...any) {
	m := w.violated.FindStringSubmatch(fmt.Sprintf(format, v...))
	if m == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refused = append(w.refused, use{user: m[1], subject: m[3], subscribed: m[2] == "Subscription", act: w.act})
	close(w.fresh)
	w.fresh = make(chan struct{})
}

func (w *wiretap) Noticef(string, ...any) {}
func (w *wiretap) Warnf(string, ...any)   {}
func (w *wiretap) Fatalf(string, ...any)  {}
func (w *wiretap) Debugf(string, ...any)  {}

// during says what is being done from now on.
func (w *wiretap) during(act string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.act = act
}

// uses returns what a user did so far.
func (w *wiretap) uses(user string) []use {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.used), func(u use) bool { return u.user != user })
}

// refusal waits for the broker to refuse a user what a rule allows, until over is
// closed.
func (w *wiretap) refusal(r roleRule, over <-chan struct{}) bool {
	refused := func(u use) bool { return u.user == r.without.Public && r.takes(u) }
	for ended := false; ; {
		w.mu.Lock()
		fresh, found := w.fresh, slices.ContainsFunc(w.refused, refused)
		w.mu.Unlock()
		if found || ended {
			return found
		}
		select {
		case <-fresh:
		case <-over:
			ended = true
		}
	}
}

// wasRefused reports whether the broker has refused this. It writes that down before
// it answers the next ping.
func (w *wiretap) wasRefused(wanted use) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.refused, func(u use) bool {
		return u.user == wanted.user && u.subject == wanted.subject && u.subscribed == wanted.subscribed
	})
}

// checkNothingRefused holds that none of those named was refused anything, but while
// doing what is excepted.
func (w *wiretap) checkNothingRefused(t testing.TB, names map[string]string, except ...string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, u := range w.refused {
		if names[u.user] == "" || slices.Contains(except, u.act) {
			continue
		}
		t.Errorf("the broker refused %s while %q: %s", names[u.user], u.act, u.subject)
	}
}
