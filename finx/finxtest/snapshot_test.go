package finxtest

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestASandboxGoesOnWhereAnotherStopped(t *testing.T) {
	first := New(Options{RevokeOnReuse: true})
	code := func(user string) string {
		first.mu.Lock()
		defer first.mu.Unlock()
		first.connect(&flow{userID: user, bank: banks()[0]}, nil)
		return first.newCode(user, "https://app.example/cb")
	}
	open := code("u")
	tokens, ok := first.exchange(tokenRequest{Code: code("u"), RedirectURI: "https://app.example/cb"})
	if !ok {
		t.Fatal("no tokens")
	}
	rotated, ok := first.refresh(tokens.refresh)
	if !ok {
		t.Fatal("no rotation")
	}
	gone, _ := first.exchange(tokenRequest{Code: code("revoked"), RedirectURI: "https://app.example/cb"})
	first.RevokeUser("revoked")
	first.Advance(300 * 24 * time.Hour) // recorded long ago: snapshots do not age
	first.Advance(-1)
	raw, err := json.Marshal(func() Snapshot { s := first.Snapshot(); s.TakenAt = s.TakenAt.Add(-300 * 24 * time.Hour); return s }())
	if err != nil || strings.Contains(string(raw), tokens.access) {
		t.Fatalf("a token in clear, or %v", err)
	}
	var saved Snapshot
	if err := json.Unmarshal(raw, &saved); err != nil {
		t.Fatal(err)
	}
	second := New(Options{RevokeOnReuse: true})
	if err := second.Restore(saved); err != nil {
		t.Fatal(err)
	}
	if _, why := second.lookupBearer(rotated.access); why != "" {
		t.Error(why)
	}
	if _, why := second.lookupBearer(gone.access); why != "The access token was revoked" {
		t.Errorf("revoked: %q", why)
	}
	if len(second.users["u"].accounts()) == 0 {
		t.Error("no accounts")
	}
	if _, ok := second.exchange(tokenRequest{Code: open, RedirectURI: "https://app.example/cb"}); !ok {
		t.Error("the open code is not known")
	}
	if _, ok := second.refresh(rotated.refresh); !ok {
		t.Error("the refresh token is not known")
	}
	if _, ok := second.refresh(tokens.refresh); ok || second.Stats().RefreshesReused != 1 {
		t.Error("a used refresh token works")
	}
	for _, broken := range []func(*Snapshot){
		func(s *Snapshot) { s.Codes[0].SHA256 = "x" }, func(s *Snapshot) { s.Access[0].Family = 99 }, func(s *Snapshot) { s.Refresh[0].SHA256 = "" },
		func(s *Snapshot) { s.Users[0].Accesses = []savedGrant{{Bank: "none"}} },
	} {
		var s Snapshot
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatal(err)
		}
		if broken(&s); second.Restore(s) == nil {
			t.Error("a broken snapshot is restored")
		}
	}
}
