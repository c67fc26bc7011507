package upgrade_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/finx-connector/finx-connector/finx/finxtest"
)

const testdata = "testdata"

// text is bytes that are kept readable where they can be.
type text []byte

type encoded struct {
	Base64 string `json:"base64"`
}

// MarshalJSON writes a string, or an object with base64 in it.
func (t text) MarshalJSON() ([]byte, error) {
	if utf8.Valid(t) {
		return json.Marshal(string(t))
	}
	return json.Marshal(encoded{base64.StdEncoding.EncodeToString(t)})
}

// UnmarshalJSON reads either.
func (t *text) UnmarshalJSON(raw []byte) error {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		*t = text(s)
		return nil
	}
	var e encoded
	if err := json.Unmarshal(raw, &e); err != nil {
		return err
	}
	decoded, err := base64.StdEncoding.DecodeString(e.Base64)
	*t = decoded
	return err
}

// about says what is in a directory: release.json.
type about struct {
	Release    string            `json:"release"`
	Commit     string            `json:"commit"`
	RecordedAt time.Time         `json:"recorded_at"`
	EscrowKey  string            `json:"escrow_key"`
	IDs        map[string]string `json:"connections"` // by what became of them
	Pending    []string          `json:"pending"`     // ids of the events that were not done when it ended
}

// kvEntry is a key of a bucket.
type kvEntry struct {
	Bucket string `json:"bucket"`
	Key    string `json:"key"`
	Value  text   `json:"value"`
	// Derived is of a state that the release never leaves stored: made of another
	// record of it.
	Derived bool `json:"derived,omitempty"`
}

// message is one of a stream.
type message struct {
	Stream   string              `json:"stream"`
	Sequence uint64              `json:"sequence"`
	Time     time.Time           `json:"time"`
	Subject  string              `json:"subject"`
	Header   map[string][]string `json:"header,omitempty"`
	Data     text                `json:"data"`
}

// vaultSecret is one in Vault.
type vaultSecret struct {
	ID       string          `json:"id"`
	Data     json.RawMessage `json:"data"`
	Metadata map[string]any  `json:"custom_metadata,omitempty"`
}

// spooled is a file of ESCROW_DIR.
type spooled struct {
	Name string `json:"name"`
	Data text   `json:"data"`
}

// fixture is what a release has left behind.
type fixture struct {
	about

	dir      string
	sandbox  finxtest.Snapshot
	kv       []kvEntry
	messages []message
	secrets  []vaultSecret
	spool    []spooled
}

// releases returns the directories there are, the oldest first.
func releases(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(testdata)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 {
		t.Fatal("there is no fixture directory")
	}
	slices.SortFunc(names, func(a, b string) int { return slices.Compare(numbers(a), numbers(b)) })
	return names
}

// numbers are those of a version: 0.10 comes after 0.9.
func numbers(version string) (all []int) {
	for part := range strings.SplitSeq(version, ".") {
		n, _ := strconv.Atoi(part)
		all = append(all, n)
	}
	return all
}

func load(t *testing.T, release string) *fixture {
	t.Helper()
	f := &fixture{dir: filepath.Join(testdata, release)}
	readJSON(t, filepath.Join(f.dir, "release.json"), &f.about)
	readJSON(t, filepath.Join(f.dir, "sandbox.json"), &f.sandbox)
	f.kv = readLines[kvEntry](t, filepath.Join(f.dir, "kv.jsonl"))
	f.messages = readLines[message](t, filepath.Join(f.dir, "streams.jsonl"))
	f.secrets = readLines[vaultSecret](t, filepath.Join(f.dir, "vault.jsonl"))
	f.spool = readLines[spooled](t, filepath.Join(f.dir, "spool.jsonl"))
	return f
}

func (f *fixture) save(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	writeJSON(t, filepath.Join(f.dir, "release.json"), f.about)
	writeJSON(t, filepath.Join(f.dir, "sandbox.json"), f.sandbox)
	writeLines(t, filepath.Join(f.dir, "kv.jsonl"), f.kv)
	writeLines(t, filepath.Join(f.dir, "streams.jsonl"), f.messages)
	writeLines(t, filepath.Join(f.dir, "vault.jsonl"), f.secrets)
	writeLines(t, filepath.Join(f.dir, "spool.jsonl"), f.spool)
}

var timestamp = regexp.MustCompile(`20\d\d(-\d\d-\d\dT)`)

// age makes everything that is dated so many years older. What is sealed stays.
func (f *fixture) age(years int) {
	older := func(b []byte) []byte {
		return timestamp.ReplaceAllFunc(b, func(found []byte) []byte {
			year, _ := strconv.Atoi(string(found[:4]))
			return append(strconv.AppendInt(nil, int64(year-years), 10), found[4:]...)
		})
	}
	for i, e := range f.kv {
		if utf8.Valid(e.Value) {
			f.kv[i].Value = older(e.Value)
		}
	}
	for i, s := range f.secrets {
		f.secrets[i].Data = older(s.Data)
	}
	for i, m := range f.messages {
		f.messages[i].Data = older(m.Data)
		for name, values := range m.Header {
			for j, v := range values {
				m.Header[name][j] = string(older([]byte(v)))
			}
		}
	}
}

// id returns a connection by what became of it.
func (f *fixture) id(t *testing.T, name string) string {
	t.Helper()
	id := f.IDs[name]
	if id == "" {
		t.Fatalf("release %s has no connection %q", f.Release, name)
	}
	return id
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, v)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func writeJSON(t *testing.T, path string, v any) {
	t.Helper()
	raw, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		err = os.WriteFile(path, append(raw, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func readLines[T any](t *testing.T, path string) []T {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []T
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var v T
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, v)
	}
	return all
}

func writeLines[T any](t *testing.T, path string, all []T) {
	t.Helper()
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	for _, v := range all {
		if err := enc.Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
