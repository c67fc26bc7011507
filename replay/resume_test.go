package replay_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/replay"
)

func (r *rig) fill(n int) {
	r.t.Helper()
	for i := range n {
		r.output(part(id(i%5), "alice", i, ""))
	}
}

// holds fails unless a stream has a copy of each of n messages, in their order.
func (r *rig) holds(stream, replayID string, n int) {
	r.t.Helper()
	var got []string
	for _, m := range r.stream(stream) {
		if msgID := m.Header[events.HeaderMsgID][0]; strings.HasPrefix(msgID, "replay:") {
			got = append(got, msgID)
		}
	}
	if len(got) != n {
		r.t.Fatalf("%d copies, want %d: %v", len(got), n, doubles(got))
	}
	for i, msgID := range got {
		if want := fmt.Sprintf("replay:%s:FINX_EVENTS:%d", replayID, i+1); msgID != want {
			r.t.Errorf("copy %d has the id %s, want %s", i, msgID, want)
		}
	}
}

func (r *rig) resume(replayID string, change ...func(*replay.Config)) *replay.Job {
	r.t.Helper()
	j, err := r.replayer(change...).Resume(r.t.Context(), replayID, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return j
}

func TestAnInterruptedReplayIsResumed(t *testing.T) {
	r := newRig(t, setup{})
	r.fill(60)
	j := r.plan(replay.Request{Mode: replay.Outputs, Reason: "lost table"})
	result, err := r.interruptAfter(j, 20)
	if !errors.Is(err, context.Canceled) || result.Outcome != replay.Interrupted || result.Replayed != 20 {
		t.Fatalf("%v, %+v", err, result)
	}
	r.output(part(id(1), "alice", 1000, "")) // after the plan: not its business

	rest := r.resume(j.ID())
	if rest.State() != replay.Interrupted || rest.Planned.Messages != 40 || rest.Planned.Streams[0].Done != 20 || rest.Counts().Replayed != 20 {
		t.Fatalf("%+v", rest.Planned)
	}
	if result := r.run(rest); result.Replayed != 60 || result.Duplicates != 0 || result.Outcome != replay.Completed {
		t.Errorf("%+v", result)
	}
	r.holds(events.StreamEvents, j.ID(), 60)
	a := r.audits()
	if len(a) != 2 || a[0]["outcome"] != "interrupted" || a[0]["replayed"] != 20.0 || a[1]["outcome"] != "completed" || a[1]["replayed"] != 60.0 ||
		a[1]["matched"] != 60.0 || a[1]["by"] != "ops@test" || a[1]["reason"] != "lost table" || a[0]["started_at"] != a[1]["started_at"] {
		t.Errorf("%v", a)
	}
	// A finished one says so, changes nothing and has nothing left.
	before := r.everything()
	again := r.resume(j.ID())
	if result := r.run(again); again.State() != replay.Completed || result.Replayed != 60 || again.Planned.Messages != 0 {
		t.Errorf("%s, %+v", again.State(), result)
	}
	if after := r.everything(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Error("resuming a finished replay changed something")
	}
	if _, err := r.replayer().Resume(t.Context(), events.NewUUID(), nil); !errors.Is(err, replay.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// dying keeps checkpoints until it is told to keep no more, as a process does
// that is killed: what it sent since is nowhere written.
type dying struct {
	replay.Checkpoints

	saves int
	from  int
}

func (d *dying) SaveFor(ctx context.Context, key string, value []byte, revision uint64, ttl time.Duration) (uint64, error) {
	if d.saves++; d.saves >= d.from {
		return 0, errors.New("killed")
	}
	return d.Checkpoints.SaveFor(ctx, key, value, revision, ttl)
}

// killAfter runs a job that writes no checkpoint but the first, and leaves it as
// a kill would after n messages.
func (r *rig) killAfter(req replay.Request, n int) (replayID string) {
	r.t.Helper()
	req.By = "ops@test"
	j, err := r.replayer(func(c *replay.Config) {
		c.Checkpoints, c.Budget, c.Hold = &dying{Checkpoints: r.control("dying"), from: 2}, 100*time.Millisecond, time.Hour
	}).Plan(r.t.Context(), req, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.interruptAfter(j, n); err == nil {
		r.t.Fatal("the replay was not stopped")
	}
	return j.ID()
}

func TestAKilledReplayIsResumed(t *testing.T) {
	for name, to := range map[string]string{"to their own subjects": "", "elsewhere": "elsewhere"} {
		for _, remembered := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, ids remembered %v", name, remembered), func(t *testing.T) {
				r := newRig(t, setup{})
				r.fill(50)
				target := events.StreamEvents
				window := func(c *jetstream.StreamConfig) {
					if !remembered {
						c.Duplicates = 100 * time.Millisecond // the shortest there is
					}
				}
				if to != "" {
					target = r.target(to, window)
				} else {
					s, err := r.js.Stream(t.Context(), target)
					if err != nil {
						t.Fatal(err)
					}
					cfg := s.CachedInfo().Config
					window(&cfg)
					if _, err := r.js.UpdateStream(t.Context(), cfg); err != nil {
						t.Fatal(err)
					}
				}
				replayID := r.killAfter(replay.Request{Mode: replay.Outputs, To: to}, 12)
				r.holds(target, replayID, 12)
				if !remembered {
					r.forgets(target)
				}
				rest := r.resume(replayID)
				if rest.State() != replay.Running || rest.Counts().Replayed != 0 {
					t.Errorf("%s, %+v", rest.State(), rest.Counts())
				}
				result := r.run(rest)
				if result.Duplicates != 12 || result.Replayed != 38 {
					t.Errorf("%+v, want 12 duplicates and 38 replayed", result)
				}
				r.holds(target, replayID, 50)
			})
		}
	}
}

// forgets waits until a stream takes a message id once more.
func (r *rig) forgets(stream string) {
	r.t.Helper()
	all := r.stream(stream)
	last := all[len(all)-1]
	begun := time.Now()
	natstest.Eventually(r.t, 10*time.Second, func() bool { return time.Since(begun) > time.Second && last.Sequence > 0 }, "the window is over")
}

func TestOneReplayHasOneHolder(t *testing.T) {
	r := newRig(t, setup{})
	r.cfg.Hold = 3 * time.Second // a busy machine is not dead
	r.fill(30)
	j := r.plan(replay.Request{Mode: replay.Outputs})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	begun, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		first := true
		_, err := j.Run(ctx, replay.RunOptions{Rate: 2, Progress: func(replay.Progress) {
			if first {
				close(begun)
			}
			first = false
		}})
		ended <- err
	}()
	<-begun
	other := r.resume(j.ID(), func(c *replay.Config) { c.Holder, c.Checkpoints = "two", r.control("two") })
	told := ""
	_, err := other.Run(t.Context(), replay.RunOptions{Rate: 1e5, Waiting: func(holder string, _ time.Duration) { told = holder }})
	taken, is := errors.AsType[*replay.TakenError](err)
	if !is || taken.Holder != "one" || told != "one" {
		t.Fatalf("%v, told of %q", err, told)
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// Two that resume what is free: one of them has it.
	a, b := r.resume(j.ID()), r.resume(j.ID())
	r.run(a)
	if _, err := b.Run(t.Context(), replay.RunOptions{Rate: 1e5}); !isTaken(err) {
		t.Errorf("%v", err)
	}
	r.holds(events.StreamEvents, j.ID(), 30)
}

func isTaken(err error) bool {
	_, is := errors.AsType[*replay.TakenError](err)
	return is
}

// A run that slept while another took its replay over sends nothing more once it
// wakes up, and leaves books and record to the other.
func TestASleeperStopsWhenItsReplayWasTakenOver(t *testing.T) {
	r := newRig(t, setup{})
	r.fill(30)
	asleep := make(chan struct{})
	j, err := r.replayer(func(c *replay.Config) { c.Checkpoints = &sleeper{r.control("sleeper"), asleep} }).
		Plan(t.Context(), replay.Request{Mode: replay.Outputs, By: "ops@test"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	begun := make(chan struct{}, 100)
	go func() {
		_, err := j.Run(t.Context(), replay.RunOptions{Rate: 3, Progress: func(replay.Progress) { begun <- struct{}{} }})
		ended <- err
	}()
	<-begun
	rest := r.resume(j.ID(), func(c *replay.Config) { c.Holder = "two" })
	result := r.run(rest)
	close(asleep)
	if err := <-ended; !isTaken(err) {
		t.Errorf("the sleeper ends with %v", err)
	}
	if result.Replayed+result.Duplicates != 30 || len(r.audits()) != 1 {
		t.Errorf("%+v, %d records", result, len(r.audits()))
	}
	r.holds(events.StreamEvents, j.ID(), 30)
}

// sleeper's saves after the first wait until it wakes up.
type sleeper struct {
	*connectionkv.Control

	asleep chan struct{}
}

func (s *sleeper) SaveFor(ctx context.Context, key string, value []byte, revision uint64, ttl time.Duration) (uint64, error) {
	if revision > 0 {
		select {
		case <-s.asleep:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return s.Control.SaveFor(ctx, key, value, revision, ttl)
}

// What is kept of a replay names its layout, lives for its time, and does not
// keep the user's id when it is done.
func TestCheckpointsAreKeptInTheControlBucket(t *testing.T) {
	r := newRig(t, setup{})
	r.output(part(id(1), "alice@example.com", 1, ""))
	r.output(part(id(1), "bob", 2, ""))
	j := r.plan(replay.Request{Mode: replay.Outputs, Selection: replay.Selection{User: "alice@example.com"}})
	r.run(j)
	s, err := r.js.Stream(t.Context(), "KV_finx_control")
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetLastMsgForSubject(t.Context(), "$KV.finx_control.replay."+j.ID())
	if err != nil {
		t.Fatal(err)
	}
	var kept struct {
		V     int    `json:"v"`
		State string `json:"state"`
	}
	if err := json.Unmarshal(m.Data, &kept); err != nil || kept.V != 1 || kept.State != "completed" {
		t.Errorf("%v: %s", err, m.Data)
	}
	if got := m.Header.Get(jetstream.MsgTTLHeader); got != "2160h0m0s" && got != "7776000" && got != "7776000s" {
		t.Errorf("it lives for %q", got)
	}
	if strings.Contains(string(m.Data), "alice") {
		t.Errorf("the user is kept: %s", m.Data)
	}
	a := r.audits()
	if len(a) != 1 || strings.Contains(fmt.Sprint(a), "alice") || a[0]["selection"].(map[string]any)["user_sha256"] != hash("alice@example.com") {
		t.Errorf("%v", a)
	}
}

// forgetful stores every third checkpoint and says that it did not.
type forgetful struct {
	*connectionkv.Control

	saves int
}

func (f *forgetful) SaveFor(ctx context.Context, key string, value []byte, revision uint64, ttl time.Duration) (uint64, error) {
	got, err := f.Control.SaveFor(ctx, key, value, revision, ttl)
	if f.saves++; err == nil && f.saves%3 == 1 {
		return 0, fault.Ambiguous(fault.NATS, errors.New("the answer was lost"))
	}
	return got, err
}

// A checkpoint whose answer was lost is known to be one's own.
func TestLostAnswersToCheckpointsAreNoOtherHolder(t *testing.T) {
	r := newRig(t, setup{})
	r.fill(10)
	re := r.replayer(func(c *replay.Config) { c.Checkpoints = &forgetful{Control: r.control("forgetful")} })
	j, err := re.Plan(t.Context(), replay.Request{Mode: replay.Outputs, By: "ops"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	result, err := j.Run(t.Context(), replay.RunOptions{Rate: 20})
	if err != nil || result.Replayed != 10 {
		t.Errorf("%v, %+v", err, result)
	}
	if again := r.resume(j.ID()); again.State() != replay.Completed {
		t.Errorf("it is %s", again.State())
	}
}

// Somebody's own message ids may begin like ours.
func TestOnlyOurCopiesAreCopies(t *testing.T) {
	r := newRig(t, setup{})
	connect := map[string]any{"user_id": "alice", "redirect_uri": "https://app.example/cb"}
	r.input(events.TypeConnectRequested, "replay:1", connect)
	r.input(events.TypeConnectRequested, "replay:"+events.NewUUID()+":X:1", connect)
	if p := r.plan(replay.Request{Mode: replay.Inputs}).Planned; p.Messages != 2 || len(p.Skipped) != 0 {
		t.Errorf("%+v", p)
	}
}
