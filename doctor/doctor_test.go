package doctor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/settings"
)

// find returns the finding of a check, failing without one.
func find(t *testing.T, r Report, group, check string) Finding {
	t.Helper()
	for _, f := range r {
		if f.Group == group && f.Check == check {
			return f
		}
	}
	t.Fatalf("nothing about %s of %s in %+v", check, group, r)
	return Finding{}
}

// TestACheckThatHangsIsLeftBehind: the others are whole, it says what it had, and what
// it says later is not taken.
func TestACheckThatHangsIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		release := make(chan struct{})
		hangs := Check{GroupVault, func(_ context.Context, s *Sheet) {
			s.ok(GroupVault, "server", "seen\nin  time")
			s.clock(Reading{Of: "Vault", Server: time.Now(), Ours: time.Now()})
			<-release
			s.fail(GroupVault, "login", "too late", "")
			s.clock(Reading{Of: "late", Server: time.Now(), Ours: time.Now()})
		}}
		obeys := Check{GroupNATS, func(ctx context.Context, s *Sheet) {
			<-ctx.Done()
			s.fail(GroupNATS, "server", ctx.Err().Error(), "r")
		}}
		quick := Check{GroupFinX, func(_ context.Context, s *Sheet) { s.ok(GroupFinX, "server", "ok") }}
		r := Run(t.Context(), 10*time.Second, Clocks(settings.Settings{}, nil), quick, hangs, obeys)
		if took := time.Since(began); took != 11*time.Second {
			t.Errorf("it took %s", took)
		}
		close(release)
		synctest.Wait()
		var got []string
		for _, f := range r {
			got = append(got, f.Group+"/"+f.Check+"="+string(f.Verdict)+" "+f.Seen)
		}
		want := "nats/server=fail context deadline exceeded|vault/server=ok seen in time|vault/time=fail not all of it was seen within 10s|finx/server=ok ok|clock/Vault=ok as here, within 2s"
		if text := strings.Join(got, "|"); text != want {
			t.Errorf("got  %s\nwant %s", text, want)
		}
		if r.Count(Fail) != 2 || r.Summary() != "3 ok, 0 to be warned of, 2 failed, 0 skipped" {
			t.Error(r.Summary())
		}
	})
}

func TestUnreadableSettings(t *testing.T) {
	r := Unreadable(errors.Join(errors.New("settings: PAGE_SIZE: not allowed"), errors.New("settings: FOO: unknown key")))
	if r.Count(Fail) != 2 || r.Count(Skip) != len(Groups())-1 {
		t.Errorf("%+v", r)
	}
	if f := find(t, r, GroupSettings, "values"); f.Seen != "PAGE_SIZE: not allowed" || f.Remedy == "" {
		t.Errorf("%+v", f)
	}
}

func TestClocksAreCompared(t *testing.T) {
	now := time.Now()
	s := settings.Settings{Handling: settings.Handling{ClockSkew: 5 * time.Second}}
	for name, tt := range map[string]struct {
		reading Reading
		want    Verdict
		says    string
	}{
		"the same":                 {Reading{Server: now, Ours: now}, OK, "within 2s"},
		"rounded down":             {Reading{Server: now.Add(-2400 * time.Millisecond), Ours: now, Coarse: true}, OK, "within 2s"},
		"a little":                 {Reading{Server: now.Add(-3 * time.Second), Ours: now}, Warn, "3s ahead of"},
		"behind":                   {Reading{Server: now.Add(4 * time.Second), Ours: now}, Warn, "4s behind"},
		"too far":                  {Reading{Server: now.Add(time.Hour), Ours: now}, Fail, "1h0m0s behind"},
		"too far from a stranger":  {Reading{Server: now.Add(time.Hour), Ours: now, Foreign: true}, Warn, "1h0m0s behind"},
		"it does not say its time": {Reading{Ours: now}, Skip, "no server answered"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.reading.Of = "it"
			sheet := &Sheet{}
			sheet.clock(tt.reading)
			sheet.clock(tt.reading) // asked twice is said once
			Clocks(s, nil)(sheet)
			if len(sheet.findings) != 1 {
				t.Fatalf("%+v", sheet.findings)
			}
			f := sheet.findings[0]
			if f.Verdict != tt.want || !strings.Contains(f.Seen, tt.says) || (f.Remedy != "") != (tt.want == Warn || tt.want == Fail) {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestTextsForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1 << 10: "1 KiB", 1536: "1.5 KiB", 1 << 30: "1 GiB", 1<<40 + 1<<39: "1.5 TiB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{-time.Second: "0s", 90 * time.Second: "90s", 5 * time.Minute: "5m", 3 * time.Hour: "3h", 75 * time.Hour: "3d"} {
		if got := age(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
	for pair, want := range map[[2]string]bool{
		{"2.13.9", "2.14"}: true, {"v1.99", "2.14"}: true, {"2.14.0-RC.1", "2.14"}: false, {"3.0.0", "2.14"}: false, {"dev", "2.14"}: false, {"2.x", "2.14"}: false,
	} {
		if got := olderThan(pair[0], pair[1]); got != want {
			t.Errorf("%v: %v", pair, got)
		}
	}
	if !isLoopback("localhost") || !isLoopback("::1") || isLoopback("10.0.0.1") || isLoopback("example.com") {
		t.Error("loopback")
	}
}
