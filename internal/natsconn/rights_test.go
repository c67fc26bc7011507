package natsconn

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/internal/natstest"
)

// withUsers starts a broker with somebody who may do all and somebody who may do what
// the rules say.
func withUsers(t *testing.T, rules *server.SubjectPermission) (admin jetstream.JetStream, restricted string) {
	t.Helper()
	srv := natstest.Start(t, natstest.WithOptions(func(o *server.Options) {
		o.Users = []*server.User{{Username: "admin", Password: "admin"}, {
			Username: "some", Password: "some",
			Permissions: &server.Permissions{Publish: rules, Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX_connector.>"}}},
		}}
	}))
	addr := strings.TrimPrefix(srv.URL(), "nats://")
	return natstest.JetStream(t, "nats://admin:admin@"+addr), "nats://some:some@" + addr
}

// TestRightsAreAskedWithoutDoingAnything asks for subjects behind which a subscriber,
// a stream, a consumer with a delivery in hand and the JetStream API listen.
func TestRightsAreAskedWithoutDoingAnything(t *testing.T) {
	const trace = "$JS.API.STREAM.INFO.S"
	subjects := []string{
		"s.a", "$JS.API.STREAM.PURGE.S", "$JS.API.STREAM.DELETE.S", "$JS.API.CONSUMER.DELETE.S.d",
		"$JS.API.CONSUMER.MSG.NEXT.S.d", "$JS.API.STREAM.MSG.GET.S", "$JS.API.DIRECT.GET.S", "$JS.ACK.S.d.doctor", "core",
	}
	for name, tt := range map[string]struct {
		rules  *server.SubjectPermission
		denied []string
		any    bool
	}{
		"all":        {nil, nil, true},
		"named":      {&server.SubjectPermission{Allow: append([]string{trace}, subjects...)}, nil, false},
		"half":       {&server.SubjectPermission{Allow: append([]string{trace}, subjects[:4]...)}, subjects[4:], false},
		"but a few":  {&server.SubjectPermission{Deny: []string{"s.>", "$JS.ACK.>"}}, []string{"s.a", "$JS.ACK.S.d.doctor"}, true},
		"the look":   {&server.SubjectPermission{Allow: []string{trace}}, subjects, false},
		"wild cards": {&server.SubjectPermission{Allow: []string{"$JS.>", "s.*", "core"}}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			admin, url := withUsers(t, tt.rules)
			heard := make(chan *nats.Msg, 100)
			for _, subject := range []string{"core", "s.>", "finx-connector-doctor.>", "$JS.EVENT.ADVISORY.>"} {
				if _, err := admin.Conn().ChanSubscribe(subject, heard); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := admin.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, AllowDirect: true}); err != nil {
				t.Fatal(err)
			}
			consumer, err := admin.CreateConsumer(t.Context(), "S", jetstream.ConsumerConfig{Durable: "d", AckPolicy: jetstream.AckExplicitPolicy})
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if _, err := admin.Publish(t.Context(), "s.stored", nil); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := consumer.Next(); err != nil {
				t.Fatal(err)
			}
			if err := admin.Conn().Flush(); err != nil {
				t.Fatal(err)
			}
			for len(heard) > 0 {
				<-heard
			}

			nc := connect(t, Config{URL: url, Logger: slog.New(slog.DiscardHandler)})
			natstest.Eventually(t, 10*time.Second, nc.IsConnected, "connected")
			denied, anything, err := Rights(t.Context(), nc, []string{"$JS.API.NOTHING", trace}, subjects)
			if err != nil || !slices.Equal(denied, tt.denied) || anything != tt.any {
				t.Errorf("denied %q, any %v, %v; want %q, %v", denied, anything, err, tt.denied, tt.any)
			}

			if err := admin.Conn().Flush(); err != nil {
				t.Fatal(err)
			}
			stream, err := admin.Stream(t.Context(), "S")
			if err != nil || stream.CachedInfo().State.Msgs != 2 {
				t.Fatalf("the stream was touched: %v", err)
			}
			info, err := consumer.Info(t.Context())
			if err != nil || info.NumAckPending != 1 || info.NumPending != 1 {
				t.Fatalf("the consumer was touched: %+v, %v", info, err)
			}
			for len(heard) > 0 {
				if m := <-heard; m.Subject != "$JS.EVENT.ADVISORY.API" {
					t.Errorf("heard on %s: %.200s", m.Subject, m.Data)
				}
			}
		})
	}
}

func TestRightsNeedOneQuestion(t *testing.T) {
	_, url := withUsers(t, &server.SubjectPermission{Allow: []string{"s.a"}})
	nc := connect(t, Config{URL: url, Logger: slog.New(slog.DiscardHandler)})
	natstest.Eventually(t, 10*time.Second, nc.IsConnected, "connected")
	if _, _, err := Rights(t.Context(), nc, []string{"$JS.API.INFO"}, []string{"s.a"}); !errors.Is(err, ErrForbidden) || !strings.Contains(err.Error(), "$JS.API.INFO") {
		t.Error(err)
	}
}

func TestVersionsAreCompared(t *testing.T) {
	for version, want := range map[string]bool{
		"2.11.0": true, "2.15.2": true, "v2.12.1-RC.1": true, "3.0.0": true, "2.10.29": false, "1.99.0": false, "": false, "dev": false,
	} {
		if got := atLeast(version, 2, 11); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}
