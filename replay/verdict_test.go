package replay_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/natstest"
	"github.com/finx-connector/finx-connector/replay"
)

func TestEveryAnswerOfTheBrokerHasAVerdict(t *testing.T) {
	r := newRig(t, setup{})
	re := r.replayer()
	api := func(status int, code jetstream.ErrorCode) error {
		return &jetstream.APIError{Code: status, ErrorCode: code, Description: "test"}
	}
	for name, tc := range map[string]struct {
		err         error
		write, read fault.Verdict
		class       fault.Class
		ambiguous   bool
	}{
		"none":               {nil, fault.Done, fault.Done, "", false},
		"no stream":          {jetstream.ErrNoStreamResponse, fault.Retry, fault.Retry, "", false},
		"nobody there":       {nats.ErrNoResponders, fault.Retry, fault.Retry, "", false},
		"silence":            {context.DeadlineExceeded, fault.Retry, fault.Retry, "", true},
		"silence, nats's":    {nats.ErrTimeout, fault.Retry, fault.Retry, "", true},
		"disconnected":       {nats.ErrDisconnected, fault.Retry, fault.Retry, "", true},
		"too large":          {nats.ErrMaxPayload, fault.GiveUp, fault.Retry, fault.Oversize, false},
		"above the maximum":  {api(400, jetstream.JSErrCodeStreamMessageExceedsMaximum), fault.GiveUp, fault.GiveUp, fault.Oversize, false},
		"another stream's":   {api(400, 10060), fault.GiveUp, fault.GiveUp, fault.Rejected, false},
		"no such stream":     {api(404, jetstream.JSErrCodeStreamNotFound), fault.GiveUp, fault.GiveUp, fault.Rejected, false},
		"too many requests":  {api(429, 10167), fault.Retry, fault.GiveUp, "", false},
		"just being stored":  {api(400, 10158), fault.Retry, fault.GiveUp, "", false},
		"store full":         {api(503, 10077), fault.Retry, fault.Retry, "", false},
		"system unavailable": {api(503, 10008), fault.Retry, fault.Retry, "", false},
		"judged already":     {fault.Throttled(fault.NATS, time.Now(), errors.New("x")), fault.Retry, fault.WaitUntil, "", true},
	} {
		got := re.JudgeWrite("a.b", tc.err)
		if fault.Of(got) != tc.write || fault.IsAmbiguous(got) != tc.ambiguous || tc.class != "" && fault.ClassOf(got) != tc.class {
			t.Errorf("%s: writing: %s %s, ambiguous %v", name, fault.Of(got), fault.ClassOf(got), fault.IsAmbiguous(got))
		}
		if tc.err != nil && !errors.Is(got, tc.err) {
			t.Errorf("%s: the error itself is lost: %v", name, got)
		}
		if got := re.JudgeRead("STREAM.INFO.X", tc.err); fault.Of(got) != tc.read {
			t.Errorf("%s: reading: %s", name, fault.Of(got))
		}
	}
}

// Who may not publish is told so, and not after a minute of silence.
func TestARefusedUserIsToldSo(t *testing.T) {
	may := func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "maker", Password: "maker"},
			{Username: "ops", Password: "ops", Permissions: &server.Permissions{Publish: &server.SubjectPermission{
				Allow: []string{"$JS.API.>", "$KV.>", "$JS.FC.>", events.TypeReplayCompleted}, Deny: []string{"$JS.API.STREAM.NAMES"},
			}}},
		}
	}
	url := strings.TrimPrefix(natstest.Start(t, may).URL(), "nats://")
	maker := newRig(t, setup{url: "nats://maker:maker@" + url})
	maker.fill(3)
	ops := *maker
	ops.js = natstest.JetStream(t, "nats://ops:ops@"+url)
	ops.cfg.JS = ops.js
	begun := time.Now()
	j := ops.plan(replay.Request{Mode: replay.Outputs})
	result, err := j.Run(t.Context(), replay.RunOptions{Rate: 1e5})
	if err == nil || !strings.Contains(err.Error(), "refuses this user to publish to "+events.TypeTransactionsFetched) ||
		result.Outcome != replay.Interrupted || result.Replayed != 0 || time.Since(begun) > 15*time.Second {
		t.Errorf("%v, %+v after %s", err, result, time.Since(begun))
	}
	if got := fmt.Sprint(maker.audits()[0]["outcome"]); got != "interrupted" {
		t.Error(got)
	}
	begun = time.Now()
	_, err = ops.replayer().Plan(t.Context(), replay.Request{Mode: replay.Outputs, By: "ops", To: "else.where"}, nil)
	if err == nil || !strings.Contains(err.Error(), "refuses this user to ask $JS.API.STREAM.NAMES") || time.Since(begun) > 15*time.Second {
		t.Errorf("%v after %s", err, time.Since(begun))
	}
}
