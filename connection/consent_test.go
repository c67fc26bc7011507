package connection_test

import (
	"testing"
	"time"

	"github.com/finx-connector/finx-connector/connection"
)

func TestConsent(t *testing.T) {
	day := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := connection.New("id", "u", day)
	if !r.Consented().IsZero() {
		t.Error("a consent out of nowhere")
	}
	r.EstablishedAt = day.Add(time.Hour) // a record of before there was the member
	if !r.Consented().Equal(day.Add(time.Hour)) {
		t.Errorf("%s", r.Consented())
	}
	for _, step := range []struct{ given, want time.Time }{{day, day}, {day.Add(-time.Hour), day}, {day.Add(2 * time.Hour), day.Add(2 * time.Hour)}} {
		before := r
		r = r.Consent(step.given.In(time.FixedZone("", 3600)))
		if !r.Consented().Equal(step.want) || r.ConsentedAt.Location() != time.UTC {
			t.Errorf("%s after %s was given", r.Consented(), step.given)
		}
		if before.Consented().Equal(r.Consented()) && step.given.After(before.ConsentedAt) {
			t.Error("the receiver was changed")
		}
	}
}
