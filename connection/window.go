package connection

import "time"

// NextWindow returns the dates (YYYY-MM-DD) between which an account is to be
// read; an empty since means its whole history.
//
// until is the day after the fetch began, in UTC: banks ahead of UTC already
// book on that day. While a fetch is open its own until is used, so that a
// redelivery repeats the same window; now counts only without one.
//
// since is, in this order: the date asked for; none when everything is asked
// for or the account was never read; else the account's mark less overlap
// (transactions are booked late and with earlier dates). The mark is the
// bank's own last success as it stood at the last completed fetch, or the end of
// that fetch's window, whichever is EARLIER. Why the bank's clock and not ours:
// while a bank's consent has lapsed finX answers from its store, so our fetches
// complete with nothing new. A window that moved on with our clock would then
// have passed the very days that the bank delivers after the renewal.
// A negative overlap counts as none.
func (r Record) NextWindow(accountID string, now time.Time, overlap time.Duration, ask Ask) (since, until string) {
	until = untilOf(now)
	if r.Fetch != nil && r.Fetch.Until != "" {
		until = r.Fetch.Until
	}
	if ask.Since != "" {
		return ask.Since, until
	}
	mark, seen := r.Accounts[accountID]
	if ask.Full || !seen {
		return "", until
	}
	reached, ok := mark.reached()
	if !ok {
		return "", until
	}
	from := reached.Add(-max(overlap, 0)).UTC()
	if from.Year() < earliestYear {
		return "", until
	}
	return from.Format(time.DateOnly), until
}

// earliestYear is before any transaction a bank keeps online; a mark below it
// is a placeholder such as 0001-01-01, and the whole history is asked for.
const earliestYear = 1970

// reached returns the earlier of the bank's last success and the end of the
// last window. A text that cannot be read is left out; ok is false when none
// is left.
func (m AccountMark) reached() (at time.Time, ok bool) {
	succeeded, haveSucceeded := ParseTimestamp(m.SucceededAt)
	until, haveUntil := ParseTimestamp(m.Until)
	switch {
	case haveSucceeded && haveUntil && until.Before(succeeded):
		return until, true
	case haveSucceeded:
		return succeeded, true
	default:
		return until, haveUntil
	}
}

func untilOf(start time.Time) string {
	return start.UTC().AddDate(0, 0, 1).Format(time.DateOnly)
}

// ParseTimestamp reads finX's timestamps: RFC 3339 with 0 to 9 fractional digits
// (two shapes are in the wild), or a bare date, taken as midnight UTC.
func ParseTimestamp(s string) (t time.Time, ok bool) {
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}
