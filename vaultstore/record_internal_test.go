package vaultstore

import (
	"encoding/json"
	"path"
	"reflect"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/internal/secret"
)

func FuzzRecordSurvivesJSON(f *testing.F) {
	f.Add("access", "refresh", "scope")
	f.Add("", "\xff\xfe\x00", "")
	f.Add("<&>\"\\\u2028", "\x01\x7f", "a b")
	f.Add("eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "", "žluťoučký")
	f.Fuzz(func(t *testing.T, access, refresh, scope string) {
		want := Record{
			AccessToken: secret.New(access), RefreshToken: secret.New(refresh), Scope: "s", Rotation: len(scope),
			RefreshObtainedAt: time.Unix(int64(len(access)), 1).UTC(),
		}
		body, err := encode(want, 3, "id", 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		var sent struct {
			Options struct{ CAS Version }
			Data    any
		}
		if err := json.Unmarshal(body, &sent); err != nil || sent.Options.CAS != 3 {
			t.Fatalf("cas %d, %v", sent.Options.CAS, err)
		}
		again, err := json.Marshal(sent.Data) // as Vault does before it stores
		if err != nil {
			t.Fatal(err)
		}
		var back stored
		if err := json.Unmarshal(again, &back); err != nil {
			t.Fatal(err)
		}
		got, err := back.record()
		if err != nil || !reflect.DeepEqual(got, want) || back.WriteID != "id" {
			t.Errorf("changed on the way: %v", err)
		}
	})
}

// FuzzPathsMeanOnlyThemselves: an id that is accepted cannot be cleaned into
// another path by the client.
func FuzzPathsMeanOnlyThemselves(f *testing.F) {
	f.Add("0f8fad5b-d9cb-469f-a165-70867728950e")
	f.Add("../0f8fad5b-d9cb-469f-a165-70867728950e")
	f.Add("0f8fad5b-d9cb-469f-a165-7086772895/.")
	f.Add("")
	p, err := newPaths("secret", "finx")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id string) {
		if CheckID(id) != nil {
			return
		}
		if full := p.data(id); path.Clean(full) != full || path.Base(full) != id || path.Dir(full) != "secret/data/finx/connections" {
			t.Errorf("%q is not what it says", full)
		}
	})
}

func FuzzSegments(f *testing.F) {
	for _, s := range []string{"secret", "a/b", "..", "a/../b", "a//b", "a/./b", "a b", "a?b", "a#b", "a%2e", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, mount string) {
		p, err := newPaths(mount, "finx")
		if err != nil {
			return
		}
		if path.Clean(p.config()) != p.config() || path.Clean("/"+p.config()) != "/"+p.config() {
			t.Errorf("%q is not what it says", p.config())
		}
	})
}

// An older replica must not drop what a newer one wrote beside what it knows.
func TestUnknownMembersSurvive(t *testing.T) {
	const raw = `{"v":1,"write_id":"w","rotation":3,"refresh_token":"r","later":{"a":[1,{"b":"<&>"}]},"Later":null}`
	var d stored
	if err := json.Unmarshal([]byte(raw), &d); err != nil {
		t.Fatal(err)
	}
	r, err := d.record()
	if err != nil {
		t.Fatal(err)
	}
	r.Rotation++
	body, err := encode(r, 1, "w2", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Data map[string]any }
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	var want map[string]any
	if err := json.Unmarshal([]byte(raw), &want); err != nil {
		t.Fatal(err)
	}
	want["write_id"], want["rotation"] = "w2", 4.0
	if !reflect.DeepEqual(got.Data, want) {
		t.Errorf("%v, want %v", got.Data, want)
	}
	// What is known to nobody else costs nothing.
	if err := json.Unmarshal([]byte(`{"v":1,"write_id":"w","rotation":0}`), &d); err != nil || d.extra != nil {
		t.Errorf("%v, %v", d.extra, err)
	}
}
