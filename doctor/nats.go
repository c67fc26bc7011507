package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/internal/natsconn"
	"github.com/finx-connector/finx-connector/settings"
	"github.com/finx-connector/finx-connector/streams"
)

// Broker are the questions to NATS. Connect comes first; after an error of it no other
// is asked.
type Broker struct {
	Addresses func(ctx context.Context) []natsconn.Address
	Connect   func(ctx context.Context) (natsconn.Facts, error)
	Account   func(ctx context.Context) (streams.Account, error)
	Diff      func(ctx context.Context) ([]streams.Change, error)
	Health    func(ctx context.Context) ([]streams.StreamHealth, []streams.ConsumerHealth, []error)
	Rights    func(ctx context.Context) (tried, denied []string, anything bool, err error)
	Shared    func(ctx context.Context) (connectionkv.Shared, error)
	Letters   func(ctx context.Context) (byClass map[string]int, whole bool, err error) // whole: there are no more
	Syncing   func(ctx context.Context) (natsconn.Syncing, error)                       // nil: nobody has said where to ask
}

// The oldest server whose schedules do what our timers need.
const leastServer = "2.14"

// CheckBroker looks at NATS, at what is on it, and at what the replicas share there.
func CheckBroker(s settings.Settings, b Broker) Check {
	return Check{GroupNATS, func(ctx context.Context, sheet *Sheet) {
		open, connected := checkConnection(ctx, sheet, s, b)
		if !connected {
			for _, g := range []string{GroupStreams, GroupState} {
				sheet.skip(g, "all", "no connection to NATS")
			}
			return
		}
		if !checkAccount(ctx, sheet, b) {
			for _, g := range []string{GroupStreams, GroupState} {
				sheet.skip(g, "all", "no JetStream")
			}
			return
		}
		checkSyncing(ctx, sheet, b)
		checkStreams(ctx, sheet, b)
		checkState(ctx, sheet, b)
		checkRights(ctx, sheet, b, open) // last: the broker's word on what it refuses there comes late, and would be laid to another question
	}}
}

// checkConnection also reports whether the broker is this machine's own and asks nobody
// who he is.
func checkConnection(ctx context.Context, sheet *Sheet, s settings.Settings, b Broker) (open, connected bool) {
	tried := make(chan []natsconn.Address, 1)
	go func() { tried <- b.Addresses(ctx) }()
	f, err := b.Connect(ctx)
	addresses := <-tried
	if err != nil {
		refuseConnection(sheet, s, addresses, err)
		return false, false
	}
	where := f.URL
	if f.Cluster != "" {
		where += " of cluster " + f.Cluster
	}
	sheet.judge(olderThan(f.Version, leastServer), false, Finding{
		Group: GroupNATS, Check: "server",
		Seen:   fmt.Sprintf("%s, %s, version %s, round trip %s", where, f.Server, f.Version, f.RTT.Round(10*time.Microsecond)),
		Remedy: "bring the servers to " + leastServer + " or newer: timers are schedules of the broker",
	})
	var silent []string
	for _, a := range addresses {
		if a.Err != nil {
			silent = append(silent, a.Host)
		}
	}
	if len(addresses) > 1 || len(silent) > 0 {
		sheet.judge(false, len(silent) > 0, Finding{
			Group: GroupNATS, Check: "addresses",
			Seen:   fmt.Sprintf("%d of %d addresses take connections%s", len(addresses)-len(silent), len(addresses), suffix(silent, ", silent: ")),
			Remedy: "start those servers, or take them out of NATS_URL",
		})
	}
	checkSecrecy(sheet, f)
	checkPayload(sheet, s, f)
	if f.Inbox != nil {
		sheet.fail(GroupNATS, "inbox", "answers cannot be heard: "+f.Inbox.Error(),
			"set NATS_INBOX_PREFIX to what this user may subscribe to (deploy/nats: _INBOX_connector, _INBOX_operator, and so on)")
		return false, false
	}
	return f.Loopback && !f.Login, true
}

func refuseConnection(sheet *Sheet, s settings.Settings, addresses []natsconn.Address, err error) {
	seen := s.NATS.ShownURL() + ": " + err.Error()
	switch natsconn.WhyNot(err) {
	case natsconn.ReasonFiles:
		sheet.fail(GroupNATS, "settings", err.Error(), "correct the setting that is named")
	case natsconn.ReasonLogin:
		sheet.fail(GroupNATS, "login", seen, "give NATS_CREDS, NATS_NKEY_SEED_FILE or the user in NATS_URL that the broker knows")
	case natsconn.ReasonTLS:
		sheet.fail(GroupNATS, "TLS", seen, "set NATS_CA to the authority of the broker's certificate (and NATS_CERT, NATS_KEY where it asks for one); NATS_URL with tls:// where it wants TLS")
	default:
		var silent []string
		for _, a := range addresses {
			if a.Err != nil {
				silent = append(silent, a.Host+" ("+a.Err.Error()+")")
			}
		}
		if len(silent) > 0 {
			seen = "no connection: " + strings.Join(silent, ", ")
		}
		sheet.fail(GroupNATS, "server", seen, "start the broker, or correct NATS_URL (now "+s.NATS.ShownURL()+")")
	}
}

// certificateNotice is how long before its end a certificate is worth a warning.
const certificateNotice = 21 * 24 * time.Hour

func checkSecrecy(sheet *Sheet, f natsconn.Facts) {
	switch {
	case f.TLS != "":
		sheet.ok(GroupNATS, "TLS", f.TLS)
		checkCertificate(sheet, GroupNATS, f.CertEnd)
	case f.Loopback:
		sheet.ok(GroupNATS, "TLS", "none; the traffic does not leave this machine")
	default:
		sheet.warn(GroupNATS, "TLS", "none, and the traffic leaves this machine: codes of callbacks and account data go in clear",
			"set up tls in the broker's configuration, then NATS_URL=tls://… and NATS_CA")
	}
	sheet.judge(false, !f.Login && !f.Loopback, Finding{
		Group: GroupNATS, Check: "login",
		Seen:   map[bool]string{true: "accepted", false: "the broker asks nobody who he is"}[f.Login],
		Remedy: "give every role a user of its own (deploy/nats), then set NATS_CREDS or NATS_NKEY_SEED_FILE",
	})
}

func checkCertificate(sheet *Sheet, group string, end time.Time) {
	if end.IsZero() {
		return
	}
	left := time.Until(end)
	sheet.judge(left <= 0, left < certificateNotice, Finding{
		Group: group, Check: "certificate",
		Seen:   fmt.Sprintf("ends %s, %d days left", end.UTC().Format(time.RFC3339), int(left.Hours()/24)),
		Remedy: "renew the server's certificate before then",
	})
}

const (
	payloadHeadroom = 16 << 10 // what the publisher leaves free, and the headers of a dead letter
	leastPayload    = 64 << 10
)

func checkPayload(sheet *Sheet, s settings.Settings, f natsconn.Facts) {
	chunk, input := s.Fetch.ChunkBytes, s.Subjects.MaxInputBytes
	need := max(chunk, input) + payloadHeadroom
	seen := fmt.Sprintf("max_payload %s; CHUNK_BYTES %s and MAX_INPUT_BYTES %s fit", size(f.MaxPayload), size(chunk), size(input))
	if f.MaxPayload < need {
		seen = fmt.Sprintf("max_payload %s is less than CHUNK_BYTES (%s) or MAX_INPUT_BYTES (%s) with %s of headers: parts are cut smaller, and the dead letter of a large input may not be stored",
			size(f.MaxPayload), size(chunk), size(input), size(payloadHeadroom))
	}
	sheet.judge(f.MaxPayload < leastPayload, f.MaxPayload < need, Finding{
		Group: GroupNATS, Check: "max_payload", Seen: seen,
		Remedy: fmt.Sprintf("set max_payload: %d in the broker's configuration, or CHUNK_BYTES and MAX_INPUT_BYTES to at most %d", need, max(f.MaxPayload-payloadHeadroom, leastPayload/4)),
	})
}

const operatorRemedy = "run doctor with the operator's credentials (deploy/nats), or allow the subject"

// invisible says of what this user may not see that it is so, and true for it.
func invisible(sheet *Sheet, group, check string, err error) bool {
	if !errors.Is(err, natsconn.ErrForbidden) {
		return false
	}
	sheet.hidden(group, check, refused(err))
	return true
}

// refused returns what the broker refused.
func refused(err error) string {
	_, what, _ := strings.Cut(err.Error(), natsconn.ErrForbidden.Error()+": ")
	return strings.ToLower(what[:min(1, len(what))]) + what[min(1, len(what)):]
}

// hidden says that this user may not see something, which by itself is no fault: serve
// has the least rights it can do with.
func (s *Sheet) hidden(group, check string, refused ...string) {
	s.add(Finding{group, check, Skip, "skipped: not visible to this user, who may not " + strings.Join(refused, ", "), operatorRemedy})
}
