package connection_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/connection"
)

const tenDays = 240 * time.Hour

func TestOpenFetchKeepsItsWindowOnRedelivery(t *testing.T) {
	late := time.Date(2026, 11, 22, 23, 59, 0, 0, time.UTC)
	r := connection.New("c1", "u1", noon).OpenFetch("f1", "schedule", connection.Ask{}, late)
	again := r.OpenFetch("f1", "schedule", connection.Ask{Full: true}, late.Add(48*time.Hour))
	if !reflect.DeepEqual(r, again) {
		t.Errorf("a redelivery changed the open fetch: %+v", again.Fetch)
	}
	if _, until := again.NextWindow("A1", late.Add(48*time.Hour), tenDays, connection.Ask{}); until != "2026-11-23" {
		t.Errorf("until = %s, want the day after the start", until)
	}
	other := r.OpenFetch("f2", "request", connection.Ask{Since: "2026-01-01", Full: true}, late.Add(time.Hour))
	want := connection.OpenFetch{ID: "f2", Trigger: "request", Since: "2026-01-01", Until: "2026-11-24", StartedAt: late.Add(time.Hour)}
	if *other.Fetch != want {
		t.Errorf("got %+v, want %+v", *other.Fetch, want)
	}
}

func TestUntilIsADayInUTC(t *testing.T) {
	auckland := time.FixedZone("NZDT", 13*3600)
	r := connection.New("c1", "u1", noon)
	for at, want := range map[time.Time]string{
		time.Date(2026, 11, 23, 1, 0, 0, 0, auckland):    "2026-11-23", // the 22nd in UTC
		time.Date(2026, 12, 31, 12, 0, 0, 0, time.UTC):   "2027-01-01",
		time.Date(2028, 2, 28, 23, 59, 0, 0, time.UTC):   "2028-02-29",
		time.Date(2026, 11, 22, 0, 0, 0, 1, time.UTC):    "2026-11-23",
		time.Date(2026, 11, 21, 23, 0, 0, 0, time.Local): time.Date(2026, 11, 21, 23, 0, 0, 0, time.Local).UTC().AddDate(0, 0, 1).Format(time.DateOnly),
	} {
		if _, until := r.NextWindow("A1", at, tenDays, connection.Ask{}); until != want {
			t.Errorf("start %v: until %s, want %s", at, until, want)
		}
	}
}

func TestNextWindowSince(t *testing.T) {
	mark := func(succeeded, until string) *connection.AccountMark {
		return &connection.AccountMark{SucceededAt: succeeded, Until: until}
	}
	tests := map[string]struct {
		mark    *connection.AccountMark
		ask     connection.Ask
		overlap time.Duration
		want    string
	}{
		"never seen":                      {nil, connection.Ask{}, tenDays, ""},
		"never seen, since asked for":     {nil, connection.Ask{Since: "2026-11-01"}, tenDays, "2026-11-01"},
		"since wins over the mark":        {mark("2026-11-20T06:00:00Z", "2026-11-21"), connection.Ask{Since: "2025-01-01"}, tenDays, "2025-01-01"},
		"since wins over full":            {mark("2026-11-20T06:00:00Z", "2026-11-21"), connection.Ask{Since: "2025-01-01", Full: true}, tenDays, "2025-01-01"},
		"full":                            {mark("2026-11-20T06:00:00Z", "2026-11-21"), connection.Ask{Full: true}, tenDays, ""},
		"bank's success is earlier":       {mark("2026-11-20T06:00:00Z", "2026-11-21"), connection.Ask{}, tenDays, "2026-11-10"},
		"consent lapsed for months":       {mark("2026-05-01T06:00:00Z", "2026-11-21"), connection.Ask{}, tenDays, "2026-04-21"},
		"window's end is earlier":         {mark("2026-11-25T06:00:00Z", "2026-11-21"), connection.Ask{}, tenDays, "2026-11-11"},
		"bank's clock in the far future":  {mark("2999-01-01T00:00:00Z", "2026-11-21"), connection.Ask{}, tenDays, "2026-11-11"},
		"milliseconds":                    {mark("2026-11-20T00:00:00.000Z", "2026-11-21"), connection.Ask{}, tenDays, "2026-11-10"},
		"microseconds and offset":         {mark("2026-11-20T00:30:00.079349+02:00", "2026-11-21"), connection.Ask{}, tenDays, "2026-11-09"},
		"nanoseconds":                     {mark("2026-11-20T09:36:33.123456789Z", "2026-11-21"), connection.Ask{}, tenDays, "2026-11-10"},
		"bare date":                       {mark("2026-11-20", "2026-11-21"), connection.Ask{}, tenDays, "2026-11-10"},
		"empty success":                   {mark("", "2026-11-21"), connection.Ask{}, tenDays, "2026-11-11"},
		"garbage success":                 {mark("gestern", "2026-11-21"), connection.Ask{}, tenDays, "2026-11-11"},
		"garbage both":                    {mark("gestern", "morgen"), connection.Ask{}, tenDays, ""},
		"empty both":                      {mark("", ""), connection.Ask{}, tenDays, ""},
		"success only":                    {mark("2026-11-20T06:00:00Z", ""), connection.Ask{}, tenDays, "2026-11-10"},
		"placeholder year one":            {mark("0001-01-01T00:00:00Z", "2026-11-21"), connection.Ask{}, tenDays, ""},
		"overlap of hours floors the day": {mark("2026-11-20T06:00:00Z", "2026-11-21"), connection.Ask{}, 7 * time.Hour, "2026-11-19"},
		"no overlap":                      {mark("2026-11-20T06:00:00Z", "2026-11-21"), connection.Ask{}, 0, "2026-11-20"},
		"negative overlap":                {mark("2026-11-20T06:00:00Z", "2026-11-21"), connection.Ask{}, -tenDays, "2026-11-20"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := connection.New("c1", "u1", noon)
			if tt.mark != nil {
				r = r.SetMark("A1", *tt.mark)
			}
			if since, _ := r.NextWindow("A1", noon, tt.overlap, tt.ask); since != tt.want {
				t.Errorf("since = %q, want %q", since, tt.want)
			}
		})
	}
}

// The story of the reason in NextWindow's docstring: six months without consent,
// fetches that complete all the while, then a renewal.
func TestNoDayIsSkippedAcrossALapsedConsent(t *testing.T) {
	r := connection.New("c1", "u1", noon)
	lastGood := "2026-05-01T06:00:00Z"
	for day := range 180 {
		at := noon.AddDate(0, 0, day)
		r = r.OpenFetch(fmt.Sprint("f", day), "schedule", connection.Ask{}, at)
		r = r.CloseFetch(at, map[string]connection.AccountMark{"A1": {SyncedAt: at.Format(time.RFC3339), SucceededAt: lastGood}}, 0)
	}
	since, until := r.NextWindow("A1", noon.AddDate(0, 0, 180), tenDays, connection.Ask{})
	if since != "2026-04-21" || until != "2027-05-22" {
		t.Errorf("window [%s, %s], want it to open ten days before the bank's last success", since, until)
	}
}

func TestCloseFetch(t *testing.T) {
	r := connection.New("c1", "u1", noon).SetMark("gone", connection.AccountMark{SucceededAt: "s", Until: "2026-01-01"})
	r = r.Note(noon, "finx_down", "503")
	if got := r.CloseFetch(noon, nil, 3); !reflect.DeepEqual(got, r) {
		t.Error("closing without an open fetch changed the record")
	}
	open := r.OpenFetch("f1", "callback", connection.Ask{}, noon)
	done := open.CloseFetch(noon.Add(time.Minute), map[string]connection.AccountMark{
		"A1": {SyncedAt: "2026-11-22T06:00:00Z", SucceededAt: "2026-11-22T05:00:00Z"},
	}, 42)
	wantMarks := map[string]connection.AccountMark{
		"A1":   {SyncedAt: "2026-11-22T06:00:00Z", SucceededAt: "2026-11-22T05:00:00Z", Until: "2026-11-23"},
		"gone": {SucceededAt: "s", Until: "2026-01-01"},
	}
	wantLast := connection.FetchSummary{ID: "f1", Trigger: "callback", StartedAt: noon, FinishedAt: noon.Add(time.Minute), Accounts: 1, Transactions: 42}
	if !reflect.DeepEqual(done.Accounts, wantMarks) || *done.LastFetch != wantLast {
		t.Errorf("marks %+v, last %+v", done.Accounts, *done.LastFetch)
	}
	if done.Fetch != nil || done.LastError != nil || !done.FetchDone("f1") {
		t.Errorf("not closed: %+v", done)
	}
	if open.Fetch == nil || len(open.Accounts) != 1 || open.FetchDone("f1") {
		t.Error("CloseFetch changed its receiver")
	}
}

func TestAnExplicitSinceDoesNotMoveAMarkAcrossAGap(t *testing.T) {
	old := connection.AccountMark{SyncedAt: "2026-11-01T00:00:00Z", SucceededAt: "2026-11-01T00:00:00Z", Until: "2026-11-02"}
	read := connection.AccountMark{SyncedAt: "2026-11-22T06:00:00Z", SucceededAt: "2026-11-22T05:00:00Z"}
	moved := read
	moved.Until = "2026-11-23"
	kept := old
	kept.SyncedAt = read.SyncedAt
	tests := map[string]struct {
		ask  connection.Ask
		seen bool
		want connection.AccountMark
	}{
		"after the mark":            {connection.Ask{Since: "2026-11-20"}, true, kept},
		"at the mark":               {connection.Ask{Since: "2026-11-01"}, true, moved},
		"before the mark":           {connection.Ask{Since: "2026-10-01"}, true, moved},
		"by the mark":               {connection.Ask{}, true, moved},
		"full":                      {connection.Ask{Full: true}, true, moved},
		"up to a day before":        {connection.Ask{Since: "2026-10-01", Until: "2026-11-20"}, true, kept},
		"up to today":               {connection.Ask{Since: "2026-10-01", Until: "2026-11-23"}, true, moved},
		"until alone":               {connection.Ask{Until: "2026-11-20"}, true, moved},
		"until before since":        {connection.Ask{Since: "2026-10-01", Until: "2026-09-20"}, true, moved},
		"never seen, up to a day":   {connection.Ask{Since: "2020-10-01", Until: "2026-11-20"}, false, connection.AccountMark{}},
		"unreadable since":          {connection.Ask{Since: "soon"}, true, kept},
		"never seen, explicit":      {connection.Ask{Since: "2026-11-20"}, false, connection.AccountMark{}},
		"never seen, whole history": {connection.Ask{}, false, moved},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := connection.New("c1", "u1", noon)
			if tt.seen {
				r = r.SetMark("A1", old)
			}
			r = r.OpenFetch("f1", "request", tt.ask, noon).
				CloseFetch(noon, map[string]connection.AccountMark{"A1": read}, 0)
			if got := r.Accounts["A1"]; got != tt.want {
				t.Errorf("mark %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestDoneFetchesAreBoundedNewestFirst(t *testing.T) {
	r := connection.New("c1", "u1", noon)
	for i := range 40 {
		before := r
		r = r.MarkFetchDone(fmt.Sprint("f", i))
		if before.FetchDone(fmt.Sprint("f", i)) {
			t.Fatal("MarkFetchDone changed its receiver")
		}
	}
	if len(r.DoneFetches) != connection.MaxDoneFetches || r.DoneFetches[0] != "f39" || r.FetchDone("f7") || !r.FetchDone("f8") {
		t.Errorf("%d remembered: %v", len(r.DoneFetches), r.DoneFetches)
	}
	r = r.MarkFetchDone("f20")
	if len(r.DoneFetches) != connection.MaxDoneFetches || r.DoneFetches[0] != "f20" || !r.FetchDone("f8") {
		t.Errorf("marking twice: %v", r.DoneFetches)
	}
}

func TestAFetchThatIsToldWhereToEnd(t *testing.T) {
	r := connection.New("c1", "u1", noon).OpenFetch("f1", "replay", connection.Ask{Since: "2026-10-01", Until: "2026-10-31"}, noon)
	// As a fetch asks, with what the record has kept, also when it is delivered again.
	since, until := r.NextWindow("A1", noon, tenDays, connection.Ask{Since: r.Fetch.Since, Full: r.Fetch.Full})
	if since != "2026-10-01" || until != "2026-10-31" || !r.Fetch.Bounded {
		t.Errorf("window [%s, %s], %+v", since, until, r.Fetch)
	}
}
