package vaultstoretest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// Store is what the suite exercises: what flow and custody use of a store.
type Store interface {
	Get(ctx context.Context, id string) (vaultstore.Record, vaultstore.Version, error)
	Put(ctx context.Context, id string, r vaultstore.Record, cas vaultstore.Version) (vaultstore.Version, error)
	Erase(ctx context.Context, id string) (versions int, err error)
	List(ctx context.Context, each func(id string) error) error
}

var (
	_ Store = (*Memory)(nil)
	_ Store = (*vaultstore.Store)(nil)
)

// Run checks the contract of a store. open returns a store without records.
func Run(t *testing.T, open func(t *testing.T) Store) {
	for name, check := range map[string]func(*testing.T, Store){
		"CreateReadUpdate":  createReadUpdate,
		"Conflict":          conflict,
		"NotFound":          notFound,
		"List":              list,
		"EraseAndRecreate":  eraseAndRecreate,
		"TokensUnchanged":   tokensUnchanged,
		"TooLarge":          tooLarge,
		"OneWinnerARound":   oneWinnerARound,
		"OddIDsRefused":     oddIDsRefused,
		"CallersKeptApart":  callersKeptApart,
		"CancelledIsNoLoss": cancelledIsNoLoss,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t, open(t))
		})
	}
}

// Lister is the part of a Store that IDs uses.
type Lister interface {
	List(ctx context.Context, each func(id string) error) error
}

// IDs returns all that a store lists.
func IDs(ctx context.Context, s Lister) (ids []string, err error) {
	err = s.List(ctx, func(id string) error {
		ids = append(ids, id)
		return nil
	})
	return ids, err
}

// NewID returns a random UUID.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func fullRecord() vaultstore.Record {
	at := time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.UTC)
	return vaultstore.Record{
		AccessToken: secret.New("access"), RefreshToken: secret.New("refresh"),
		TokenType: "bearer", Scope: "accounts transactions",
		AccessExpiresAt: at.Add(time.Hour), RefreshObtainedAt: at,
		Rotation: 7, CodeSHA256: secret.New("code").SHA256(),
		Pending: &vaultstore.Pending{Kind: "refresh", Holder: "pod-1", StartedAt: at, Attempt: 2, SHA256: secret.New("refresh").SHA256()},
		Earlier: []vaultstore.Pending{{Kind: "exchange", Holder: "pod-0", StartedAt: at, Attempt: 1, SHA256: secret.New("code").SHA256(), Outcome: "unknown"}},
	}
}

func createReadUpdate(t *testing.T, s Store) {
	id, want := NewID(), fullRecord()
	mustPut(t, s, id, want, 0, 1)
	mustGet(t, s, id, want, 1)
	want.Pending, want.Rotation = nil, 8
	want.RefreshToken = secret.New("refresh-2")
	mustPut(t, s, id, want, 1, 2)
	mustGet(t, s, id, want, 2)
	mustPut(t, s, id, vaultstore.Record{}, 2, 3)
	mustGet(t, s, id, vaultstore.Record{}, 3)
}

func conflict(t *testing.T, s Store) {
	id, want := NewID(), fullRecord()
	mustPut(t, s, id, want, 0, 1)
	want.Rotation++
	mustPut(t, s, id, want, 1, 2)
	loser := fullRecord()
	loser.RefreshToken = secret.New("loser")
	for _, cas := range []vaultstore.Version{0, 1, 3} {
		v, err := s.Put(t.Context(), id, loser, cas)
		if !errors.Is(err, vaultstore.ErrConflict) || v != 0 {
			t.Errorf("cas %d: version %d, error %v, want a conflict", cas, v, err)
		}
		if fault.Of(err) != fault.Retry || fault.IsAmbiguous(err) {
			t.Errorf("cas %d: verdict %v, ambiguous %t", cas, fault.Of(err), fault.IsAmbiguous(err))
		}
	}
	mustGet(t, s, id, want, 2)
	if _, err := s.Put(t.Context(), NewID(), loser, 1); !errors.Is(err, vaultstore.ErrConflict) {
		t.Errorf("cas 1 on nothing: %v", err)
	}
}

func notFound(t *testing.T, s Store) {
	r, v, err := s.Get(t.Context(), NewID())
	if !errors.Is(err, vaultstore.ErrNotFound) || v != 0 || !reflect.DeepEqual(r, vaultstore.Record{}) {
		t.Errorf("version %d, error %v, want not found", v, err)
	}
}

func list(t *testing.T, s Store) {
	got, err := IDs(t.Context(), s)
	if err != nil || len(got) != 0 {
		t.Fatalf("empty store: %v, %v", got, err)
	}
	var want []string
	for range 3 {
		id := NewID()
		mustPut(t, s, id, fullRecord(), 0, 1)
		want = append(want, id)
	}
	slices.Sort(want)
	if got, err = IDs(t.Context(), s); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	enough := errors.New("enough")
	got = nil
	err = s.List(t.Context(), func(id string) error {
		got = append(got, id)
		if len(got) == 2 {
			return enough
		}
		return nil
	})
	if err != enough || !slices.Equal(got, want[:2]) { //nolint:errorlint // as it is, not wrapped
		t.Errorf("stopped at the second: got %v, %v", got, err)
	}
}

func eraseAndRecreate(t *testing.T, s Store) {
	id := NewID()
	if n, err := s.Erase(t.Context(), id); n != 0 || err != nil {
		t.Errorf("erasing nothing: %d, %v", n, err)
	}
	mustPut(t, s, id, fullRecord(), 0, 1)
	settled := fullRecord()
	settled.Pending = nil
	mustPut(t, s, id, settled, 1, 2)
	if n, err := s.Erase(t.Context(), id); n != 1 || err != nil {
		t.Errorf("erasing: %d versions, %v, want the newest alone", n, err)
	}
	notFoundNow(t, s, id)
	if ids, err := IDs(t.Context(), s); err != nil || len(ids) != 0 {
		t.Errorf("still listed: %v, %v", ids, err)
	}
	if n, err := s.Erase(t.Context(), id); n != 0 || err != nil {
		t.Errorf("erasing again: %d, %v", n, err)
	}
	mustPut(t, s, id, fullRecord(), 0, 1)
	mustGet(t, s, id, fullRecord(), 1)
}

func tokensUnchanged(t *testing.T, s Store) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for name, token := range map[string]string{
		"20 bytes":       strings.Repeat("t", 20),
		"4 KiB":          strings.Repeat("a.B-9_", 4<<10/6),
		"64 KiB":         strings.Repeat("x", 64<<10),
		"64 KiB control": strings.Repeat("\x01", 64<<10),
		"64 KiB <":       strings.Repeat("<", 32<<10) + strings.Repeat(`"`, 32<<10),
		"every byte":     string(every),
		"no UTF-8":       "ab\xff\xfe\x00cd",
		"line ends":      "a\r\nb\u2028c\u0085",
		"beyond latin":   "žluťoučký 漢字 🏦 \ufeff",
	} {
		id, want := NewID(), fullRecord()
		want.AccessToken, want.RefreshToken = secret.New(token), secret.New(token+".")
		if _, err := s.Put(t.Context(), id, want, 0); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, _, err := s.Get(t.Context(), id)
		if err != nil || got.AccessToken != want.AccessToken || got.RefreshToken != want.RefreshToken {
			t.Errorf("%s: changed, %d and %d bytes, %v", name, got.AccessToken.Len(), got.RefreshToken.Len(), err)
		}
	}
}

func tooLarge(t *testing.T, s Store) {
	id, r := NewID(), fullRecord()
	r.AccessToken = secret.New(strings.Repeat("x", vaultstore.DefaultMaxRecordBytes))
	_, err := s.Put(t.Context(), id, r, 0)
	if !errors.Is(err, vaultstore.ErrTooLarge) || fault.Of(err) != fault.GiveUp || fault.ClassOf(err) != fault.Oversize {
		t.Errorf("got %v, verdict %v", err, fault.Of(err))
	}
	notFoundNow(t, s, id)
}

// oneWinnerARound lets writers race from one version: exactly one may win.
func oneWinnerARound(t *testing.T, s Store) {
	const rounds, writers = 5, 8
	id := NewID()
	for round := range vaultstore.Version(rounds) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		winners := map[string]vaultstore.Version{}
		for writer := range writers {
			wg.Go(func() {
				r := fullRecord()
				r.RefreshToken = secret.New(fmt.Sprintf("round %d writer %d", round, writer))
				v, err := s.Put(t.Context(), id, r, round)
				switch {
				case err == nil:
					mu.Lock()
					defer mu.Unlock()
					winners[r.RefreshToken.Reveal()] = v
				case !errors.Is(err, vaultstore.ErrConflict):
					t.Errorf("round %d writer %d: %v", round, writer, err)
				}
			})
		}
		wg.Wait()
		got, v, err := s.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if len(winners) != 1 || winners[got.RefreshToken.Reveal()] != round+1 || v != round+1 {
			t.Fatalf("round %d: winners %v, stored version %d", round, winners, v)
		}
	}
}

func oddIDsRefused(t *testing.T, s Store) {
	victim := NewID()
	mustPut(t, s, victim, fullRecord(), 0, 1)
	for _, id := range []string{
		"", ".", "..", "x", "../" + victim, victim + "/", "/" + victim, victim + "/../" + victim, strings.ToUpper(NewID()),
		"{" + victim + "}", "urn:uuid:" + victim, strings.ReplaceAll(victim, "-", ""), victim + "\n", victim[:35] + "*", victim[:35] + "\x00", victim[:33] + "é.",
	} {
		_, _, getErr := s.Get(t.Context(), id)
		_, putErr := s.Put(t.Context(), id, fullRecord(), 0)
		_, eraseErr := s.Erase(t.Context(), id)
		for op, err := range map[string]error{"get": getErr, "put": putErr, "erase": eraseErr} {
			if !errors.Is(err, vaultstore.ErrInvalidID) || fault.Of(err) != fault.GiveUp {
				t.Errorf("%s %q: %v", op, id, err)
			}
		}
	}
	mustGet(t, s, victim, fullRecord(), 1)
}

func callersKeptApart(t *testing.T, s Store) {
	id, r := NewID(), fullRecord()
	mustPut(t, s, id, r, 0, 1)
	r.Pending.Holder, r.Earlier[0].Holder = "changed after the write", "changed after the write"
	got, _, err := s.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	got.Pending.Holder, got.Earlier[0].Holder = "changed after the read", "changed after the read"
	mustGet(t, s, id, fullRecord(), 1)
}

func cancelledIsNoLoss(t *testing.T, s Store) {
	id := NewID()
	mustPut(t, s, id, fullRecord(), 0, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Get(ctx, id); !errors.Is(err, context.Canceled) || errors.Is(err, vaultstore.ErrNotFound) || fault.Of(err) != fault.Retry {
		t.Errorf("reading: %v", err)
	}
	if _, err := s.Put(ctx, id, fullRecord(), 1); !errors.Is(err, context.Canceled) || fault.Of(err) != fault.Retry {
		t.Errorf("writing: %v", err)
	}
	mustGet(t, s, id, fullRecord(), 1)
}

func mustPut(t *testing.T, s Store, id string, r vaultstore.Record, cas, want vaultstore.Version) {
	t.Helper()
	if v, err := s.Put(t.Context(), id, r, cas); v != want || err != nil {
		t.Fatalf("writing at %d: version %d, %v, want %d", cas, v, err, want)
	}
}

func mustGet(t *testing.T, s Store, id string, want vaultstore.Record, version vaultstore.Version) {
	t.Helper()
	got, v, err := s.Get(t.Context(), id)
	if err != nil || v != version {
		t.Fatalf("reading: version %d, %v, want %d", v, err, version)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func notFoundNow(t *testing.T, s Store, id string) {
	t.Helper()
	if _, _, err := s.Get(t.Context(), id); !errors.Is(err, vaultstore.ErrNotFound) {
		t.Errorf("reading: %v, want not found", err)
	}
}
