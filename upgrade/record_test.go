package upgrade_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/events"
)

// How a release is recorded: see CONTRIBUTING.md.
var (
	recordRelease = flag.String("record", "", "record what a release stores into testdata/`release`")
	recordBinary  = flag.String("binary", "", "the release's own finx-connector")
	recordSource  = flag.String("source", "", "the release's source tree, for its schemas and events")
	recordCommit  = flag.String("commit", "", "the release's commit")
	recordWithout = flag.String("without", "", "comma list of what the release does not have: parking, guards, suspects")
)

// TestRecord has a release leave behind a record of every kind. It does nothing
// unless it is asked to.
func TestRecord(t *testing.T) {
	if *recordRelease == "" {
		t.Skip("no release is to be recorded: -record, -binary, -source and -commit say which")
	}
	r := &recorder{world: newWorld(t), ids: map[string]string{}, extra: map[string]kvEntry{}, held: map[string]int{}}
	r.command("streams", "apply")
	r.ordinary()
	r.letters()
	if r.has("guards") {
		r.outages()
	}
	r.poisoned()
	r.interrupted()
	r.save()
}

// recorder drives the binary of a release.
type recorder struct {
	*world

	ids     map[string]string
	pending []string
	extra   map[string]kvEntry // what is gone by the end

	mu   sync.Mutex
	held map[string]int // how many calls were held, by what is in them
}

// has reports whether the release knows something.
func (r *recorder) has(what string) bool {
	return !slices.Contains(strings.Split(*recordWithout, ","), what)
}

// program is a running connector.
type program struct {
	cmd *exec.Cmd
	out *output
	end func()
}

type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func (r *recorder) launch(extra map[string]string, args ...string) *program {
	r.Helper()
	p := &program{cmd: exec.Command(*recordBinary, args...), out: &output{}}
	env := maps.Clone(r.env)
	maps.Copy(env, extra)
	for name, value := range env {
		p.cmd.Env = append(p.cmd.Env, name+"="+value)
	}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	r.must(p.cmd.Start())
	p.end = sync.OnceFunc(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	r.Cleanup(func() {
		p.end()
		if r.Failed() {
			text := p.out.String()
			r.Logf("%v said:\n%s", args, text[max(0, len(text)-6000):])
		}
	})
	return p
}

func (r *recorder) command(args ...string) {
	r.Helper()
	p := r.launch(nil, args...)
	if err := p.cmd.Wait(); err != nil {
		r.Fatalf("%v: %v\n%s", args, err, p.out)
	}
}

// serve starts the connector and waits until it can take work.
func (r *recorder) serve(extra map[string]string) *program {
	r.Helper()
	addr := freeAddress(r.T)
	env := map[string]string{"LISTEN_ADDR": addr, "LOG_LEVEL": "debug"}
	maps.Copy(env, extra)
	p := r.launch(env, "serve")
	r.eventually("the connector is ready", func() bool {
		resp, err := http.Get("http://" + addr + "/readyz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return p
}

// stop lets the connector drain.
func (r *recorder) stop(p *program) {
	r.Helper()
	r.must(p.cmd.Process.Signal(syscall.SIGTERM))
	_ = p.cmd.Wait()
}

// connect asks for a connection and waits for its link.
func (r *recorder) connect(name string) (id string) {
	r.Helper()
	id = r.ask(name)
	r.eventually(name+" has a link", func() bool { return r.record(id).State == connection.LinkCreated })
	return id
}

func (r *recorder) ask(name string) (id string) {
	r.Helper()
	id = events.ConnectionID(events.Envelope{ID: "connect-" + name, Source: events.Source})
	r.ids[name] = id
	r.emit(events.TypeConnectRequested, "connect-"+name, events.ConnectRequested{UserID: "user-" + name, RedirectURI: redirectURI, State: "state-" + name, TrackingID: "track-" + name})
	return id
}

// establish takes a connection to its first completed fetch.
func (r *recorder) establish(name string) (id string) {
	r.Helper()
	id = r.connect(name)
	r.callback(name, r.approve(r.location(id)).String())
	r.eventually(name+" was fetched", func() bool { return r.record(id).LastFetch != nil })
	return id
}

func (r *recorder) callback(name, back string) {
	r.Helper()
	body, err := json.Marshal(map[string]string{"callback_url": back})
	r.must(err)
	r.emit(events.TypeCallbackReceived, "callback-"+name, body)
}

func (r *recorder) sync(name, id string) {
	r.Helper()
	r.emit(events.TypeSyncRequested, "sync-"+name, events.SyncRequested{ConnectionID: id, Reason: "recorded"})
}

// keep remembers a key that will be gone by the end.
func (r *recorder) keep(bucket, key string) {
	r.Helper()
	var value []byte
	r.eventually(bucket+" has "+key, func() bool { value = r.value(bucket, key); return value != nil })
	r.extra[bucket+" "+key] = kvEntry{Bucket: bucket, Key: key, Value: value}
}

// save writes the directory.
func (r *recorder) save() {
	r.Helper()
	f := &fixture{dir: filepath.Join(testdata, *recordRelease), sandbox: r.sandbox.Snapshot()}
	f.about = about{
		Release: *recordRelease, Commit: *recordCommit, RecordedAt: time.Now().UTC().Truncate(time.Second), EscrowKey: escrowKey, IDs: r.ids, Pending: r.pending,
	}
	for _, bucket := range []string{connectionkv.BucketConnections, connectionkv.BucketControl, connectionkv.BucketEscrow} {
		f.kv = append(f.kv, r.bucket(bucket)...)
	}
	for _, key := range slices.Sorted(maps.Keys(r.extra)) {
		if i := slices.IndexFunc(f.kv, func(e kvEntry) bool { return e.Bucket+" "+e.Key == key }); i >= 0 {
			f.kv[i] = r.extra[key]
		} else {
			f.kv = append(f.kv, r.extra[key])
		}
	}
	f.kv = append(f.kv, r.derived("callback_received", "erased")...)
	for _, stream := range []string{events.StreamRequests, events.StreamCallbacks, events.StreamEvents, events.StreamTimers, events.StreamDLQ} {
		f.messages = append(f.messages, r.stored(stream)...)
	}
	for _, name := range slices.Sorted(maps.Keys(r.ids)) {
		if data := r.secret(r.ids[name]); data != nil {
			raw, err := json.Marshal(data)
			r.must(err)
			f.secrets = append(f.secrets, vaultSecret{ID: r.ids[name], Data: raw})
		}
	}
	files, err := os.ReadDir(r.spool)
	r.must(err)
	for _, file := range files {
		if strings.HasPrefix(file.Name(), r.ids["spooled"]) {
			data, err := os.ReadFile(filepath.Join(r.spool, file.Name()))
			r.must(err)
			f.spool = append(f.spool, spooled{file.Name(), data})
		}
	}
	f.anonymize(r.T)
	f.save(r.T)
	r.copy("events/schemas/v1", filepath.Join(f.dir, "schemas", "v1"))
	r.copy("events/testdata", filepath.Join(f.dir, "events"))
}

// anonymize takes out the name of the machine, which holders of leases and marks carry.
func (f *fixture) anonymize(t *testing.T) {
	t.Helper()
	host, err := os.Hostname()
	if err != nil || host == "" {
		t.Fatalf("no name of this machine: %v", err)
	}
	clean := strings.NewReplacer(`"`+host+"-", `"host-`, "replica."+host+"-", "replica.host-").Replace
	for i, e := range f.kv {
		if strings.HasPrefix(string(e.Value), "{") && e.Bucket != connectionkv.BucketEscrow {
			f.kv[i].Key, f.kv[i].Value = clean(e.Key), text(clean(string(e.Value)))
		}
	}
	for i, s := range f.secrets {
		f.secrets[i].Data = json.RawMessage(clean(string(s.Data)))
	}
	for i, m := range f.messages {
		f.messages[i].Data = text(clean(string(m.Data)))
	}
}

// bucket returns all keys of a bucket. Of two answers in escrow one is as if it had
// been in the spool only.
func (r *recorder) bucket(name string) (all []kvEntry) {
	r.Helper()
	kv, err := r.js.KeyValue(r.ctx(), name)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil // the release has none
	}
	r.must(err)
	keys, err := kv.Keys(r.ctx())
	if errors.Is(err, jetstream.ErrNoKeysFound) {
		return nil
	}
	r.must(err)
	slices.Sort(keys)
	for _, key := range keys {
		if name == connectionkv.BucketEscrow && strings.HasPrefix(key, r.ids["spooled"]) {
			continue
		}
		all = append(all, kvEntry{Bucket: name, Key: key, Value: r.value(name, key)})
	}
	return all
}

// derived makes records in states that a release leaves at once, or does not enter
// yet, of its established one.
func (r *recorder) derived(states ...string) (all []kvEntry) {
	r.Helper()
	from := r.ids["established"]
	for _, state := range states {
		id := events.UUIDv5("derived", state)
		r.ids[state] = id
		value := strings.ReplaceAll(string(r.value(connectionkv.BucketConnections, "connection."+from)), from, id)
		value = strings.Replace(value, `"state":"established"`, `"state":"`+state+`"`, 1)
		all = append(all, kvEntry{Bucket: connectionkv.BucketConnections, Key: "connection." + id, Value: text(value), Derived: true})
	}
	return all
}

func (r *recorder) copy(from, to string) {
	r.Helper()
	r.must(os.MkdirAll(to, 0o755))
	files, err := os.ReadDir(filepath.Join(cmp.Or(*recordSource, ".."), from))
	r.must(err)
	for _, file := range files {
		raw, err := os.ReadFile(filepath.Join(cmp.Or(*recordSource, ".."), from, file.Name()))
		r.must(err)
		r.must(os.WriteFile(filepath.Join(to, file.Name()), raw, 0o644))
	}
}
