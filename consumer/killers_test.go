package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/consumer"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

// child, in the environment, makes a process of this test binary a connector that
// ends when it handles a killer: the address of its broker.
const child = "CONSUMER_TEST_BROKER"

// died is the exit code of a child that a message has ended.
const died = 7

// runChild handles messages until it is killed or ends itself.
func runChild(url string) error {
	nc, err := nats.Connect(url, nats.MaxReconnects(-1))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	kv, err := js.KeyValue(context.Background(), "suspects")
	if err != nil {
		return err
	}
	c, err := consumer.New(consumer.Config{JS: js, DLQStream: dlq, Suspects: keyValue{kv}, Lanes: []consumer.Lane{{
		Name: "callbacks", Stream: stream, Durable: durable, Slots: 4, Deadline: time.Minute, MaxAttempts: 5,
		Handle: func(ctx context.Context, d consumer.Delivery) error {
			pause(ctx, 10*time.Millisecond)
			if string(d.Data) == "killer" {
				os.Exit(died)
			}
			_, err := js.Publish(ctx, "handled."+strconv.FormatUint(d.Sequence, 10), nil)
			return err
		},
	}}})
	if err != nil {
		return err
	}
	return c.Run(context.Background())
}

// keyValue are Suspects shared by processes.
type keyValue struct{ kv jetstream.KeyValue }

func (k keyValue) Begun(ctx context.Context, stream string, sequence uint64) (int, error) {
	key := fmt.Sprintf("%s.%d", stream, sequence)
	entry, err := k.kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		_, err = k.kv.Create(ctx, key, []byte("1"))
		return 1, err
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(string(entry.Value()))
	if err != nil {
		return 0, err
	}
	_, err = k.kv.Update(ctx, key, []byte(strconv.Itoa(n+1)), entry.Revision())
	return n + 1, err
}

func (k keyValue) Returned(ctx context.Context, stream string, sequence uint64) error {
	return k.kv.Delete(ctx, fmt.Sprintf("%s.%d", stream, sequence))
}

// TestKillersAreBuried: a few messages end each process that handles them. It is
// started again and again, as an orchestrator does, until they are dead letters and
// all others are handled, also those that were being handled whenever it ended.
func TestKillersAreBuried(t *testing.T) {
	t.Parallel() // it waits for the most part
	messages, killers := 40, map[int]bool{9: true}
	if os.Getenv("FINX_TEST_LONG") != "" {
		messages, killers = 200, map[int]bool{20: true, 21: true, 150: true}
	}
	r := newRig(t, time.Second)
	r.addStream("HANDLED", "handled.*")
	_, err := r.js.CreateKeyValue(r.ctx(), jetstream.KeyValueConfig{Bucket: "suspects"})
	r.must(err)
	for i := range messages {
		data := "good"
		if killers[i] {
			data = "killer"
		}
		r.publish(data, nil)
	}
	stop := make(chan struct{})
	deaths := make(chan int, 1)
	go restart(t, r.srv.URL(), stop, deaths)
	natstest.Eventually(t, 10*time.Minute, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		defer cancel()
		c, err := r.js.Consumer(ctx, stream, durable)
		return err == nil && c.CachedInfo().AckFloor.Stream == uint64(messages)
	}, "everything settled")
	close(stop)
	n := <-deaths
	s, err := r.js.Stream(r.ctx(), "HANDLED")
	r.must(err)
	info, err := s.Info(r.ctx(), jetstream.WithSubjectFilter("handled.*"))
	r.must(err)
	t.Logf("%d of %d handled after %d deaths, %d dead letters", len(info.State.Subjects), messages, n, r.deadLetters())
	if len(info.State.Subjects) != messages-len(killers) || r.deadLetters() != len(killers) {
		t.Errorf("%d handled, %d dead letters; want %d and %d", len(info.State.Subjects), r.deadLetters(), messages-len(killers), len(killers))
	}
	for _, m := range r.stored(dlq) {
		if string(m.Data) != "killer" || m.Header.Get(consumer.HeaderReason) != "exhausted" {
			t.Errorf("dead letter %q, %s: %s", m.Data, m.Header.Get(consumer.HeaderReason), m.Header.Get(consumer.HeaderError))
		}
	}
}

// restart runs one child after the other until stop is closed, and says then how
// many were ended by a message.
func restart(t *testing.T, url string, stop <-chan struct{}, deaths chan<- int) {
	t.Helper()
	runtime.LockOSThread() // a child dies with the thread that started it
	defer runtime.UnlockOSThread()
	n := 0
	defer func() { deaths <- n }()
	for {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), child+"="+url)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Errorf("starting a child: %v", err)
			return
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case <-stop:
			_ = cmd.Process.Kill()
			<-ended
			return
		case err := <-ended:
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok || exit.ExitCode() != died {
				t.Errorf("a child ended with %v", err)
				return
			}
			n++
		}
	}
}
