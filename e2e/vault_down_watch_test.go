package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/internal/secret"
)

// callWithin is how long after the beginning of its mark a token call may still
// arrive at finX: the 6 s of the journal, and the way there on a busy machine. A
// Vault that needs 5 s for an answer needs 10 s for two.
const callWithin = 8 * time.Second

// watch stands at both gates of a rig. It holds calls at the moments at which a
// test acts, makes Vault slow, and looks at every token call as it passes: the
// value it spends was announced by a mark that Vault had taken, not long ago, and
// was never sent before.
type watch struct {
	t    testing.TB
	done chan struct{} // the test is over: nothing is held any more

	mu      sync.Mutex
	catches []*catch
	slow    time.Duration        // before each call to Vault
	begun   map[string]time.Time // writes under way
	marks   map[string]time.Time // when the mark of a value was begun that Vault took, by the value's hash
	sent    map[string]int       // token calls, by the value's hash
	asked   map[string]int       // calls to Vault about a connection's secret
}

// watched puts a watch at the gates.
func (r *rig) watched() *watch {
	w := &watch{
		t: r.t, done: make(chan struct{}),
		begun: map[string]time.Time{}, marks: map[string]time.Time{}, sent: map[string]int{}, asked: map[string]int{},
	}
	r.t.Cleanup(func() { close(w.done) })
	r.bank.on(func(c passing) bool {
		if value := spent(c); value != "" && !c.Answered {
			w.called(value)
		}
		w.hold(c)
		return false
	})
	r.safe.on(func(c passing) bool {
		w.vaultCall(c)
		w.hold(c)
		w.mu.Lock()
		slow := w.slow
		w.mu.Unlock()
		if slow > 0 && !c.Answered {
			w.rest(slow)
		}
		return false
	})
	return w
}

// rest is how long a slow Vault thinks.
func (w *watch) rest(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.done:
	}
}

// slowDown makes every call to Vault begin that much later; zero ends it.
func (w *watch) slowDown(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slow = d
}

// called judges a token call on its way to finX.
func (w *watch) called(value string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	hash := secret.New(value).SHA256()
	w.sent[hash]++
	if n := w.sent[hash]; n > 1 {
		w.t.Errorf("a value was sent to finX %d times", n)
	}
	marked, ok := w.marks[hash]
	if !ok {
		w.t.Error("a token call without a mark that Vault took")
	} else if late := time.Since(marked); late > callWithin {
		w.t.Errorf("a token call %s after the beginning of its mark", late.Round(time.Millisecond))
	}
}

// vaultCall takes down what a call to Vault is about.
func (w *watch) vaultCall(c passing) {
	id, data := secretOf(c)
	if id == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	key := fmt.Sprint(c.Method, c.Path, c.N)
	if !c.Answered {
		w.asked[id]++
		w.begun[key] = time.Now()
	} else if data.Pending != nil && c.Status < http.StatusMultipleChoices {
		w.marks[data.Pending.SHA256] = w.begun[key]
	}
}

// times returns how often a value was sent to finX.
func (w *watch) times(value string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent[secret.New(value).SHA256()]
}

// calls returns how often Vault was asked about a connection.
func (w *watch) calls(connectionID string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked[connectionID]
}

// catch is the first call that fits, held until it is let go.
type catch struct {
	fits    func(passing) bool
	arrived chan struct{}
	open    chan struct{}
	once    sync.Once
}

// next has the watch hold the next call that fits.
func (w *watch) next(fits func(passing) bool) *catch {
	c := &catch{fits: fits, arrived: make(chan struct{}), open: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.catches = append(w.catches, c)
	return c
}

func (w *watch) hold(p passing) {
	w.mu.Lock()
	catches := w.catches
	w.mu.Unlock()
	for _, c := range catches {
		if !c.fits(p) {
			continue
		}
		c.once.Do(func() {
			close(c.arrived)
			select {
			case <-c.open:
			case <-w.done:
			}
		})
	}
}

// wait waits until the call is held.
func (c *catch) wait(t testing.TB, what string) {
	t.Helper()
	limit := time.NewTimer(within)
	defer limit.Stop()
	select {
	case <-c.arrived:
	case <-limit.C:
		t.Fatalf("%s: the call to be held did not come", what)
	}
}

// release lets the call go on.
func (c *catch) release() { close(c.open) }

// spent is the code or refresh token that a call to finX sends.
func spent(c passing) string {
	if !c.is(http.MethodPost, "/auth/token") {
		return ""
	}
	var body struct {
		Code    string `json:"code"`
		Refresh string `json:"refresh_token"`
	}
	_ = json.Unmarshal(c.Body, &body) // what cannot be read spends nothing
	return body.Code + body.Refresh
}

// secretData is what tests look at in a write of a connection's secret.
type secretData struct {
	Access  string `json:"access_token"`
	Pending *struct {
		SHA256 string `json:"sha256"`
	} `json:"pending"`
}

// secretOf is the connection whose secret a call to Vault reads or writes, and
// what it writes.
func secretOf(c passing) (connectionID string, data secretData) {
	_, id, ok := strings.Cut(c.Path, "/data/finx/connections/")
	if !ok {
		return "", data
	}
	var body struct {
		Data secretData `json:"data"`
	}
	_ = json.Unmarshal(c.Body, &body) // a read has none
	return id, body.Data
}

// marking fits the write of a mark of a connection.
func marking(connectionID string) func(passing) bool {
	return func(c passing) bool {
		id, data := secretOf(c)
		return id == connectionID && data.Pending != nil && !c.Answered
	}
}

// tokensStored fits the answer to the write that stores a connection's tokens.
func tokensStored(connectionID string) func(passing) bool {
	return func(c passing) bool {
		id, data := secretOf(c)
		return id == connectionID && data.Pending == nil && data.Access != "" && c.Answered && c.Status < http.StatusMultipleChoices
	}
}

// spending fits the call that spends a value, on its way to finX.
func spending(value string) func(passing) bool {
	return func(c passing) bool { return !c.Answered && spent(c) == value }
}
