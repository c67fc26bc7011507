package settings

import (
	"errors"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"
)

func streamsTable() []Setting {
	stream := func(env, def, what string, at func(*Streams) *string) Setting {
		return checked(env, def, "stream of "+what+"; another name means that another team owns it, and it is only bound to",
			"name without spaces, dots, slashes or wildcards",
			func(v string) bool { return !strings.ContainsAny(v, " \t\r\n.*>/\\") },
			func(s *Settings) *string { return at(&s.Streams) })
	}
	replicas := count("STREAM_REPLICAS", "", "replicas of the streams, consumers and buckets that `streams apply` makes", 5,
		func(s *Settings) *int { return &s.Streams.Replicas })
	replicas.DefaultText = "`3` on a broker cluster of three or more, else `1`"
	age := duration("STREAM_MAX_AGE", "", "how long our streams keep events", time.Hour, 10*365*24*time.Hour, func(s *Settings) *time.Duration { return &s.Streams.MaxAge })
	bytes := size("STREAM_MAX_BYTES", "", "how large each of our streams may grow", 1<<20, 1<<50, func(s *Settings) *int64 { return &s.Streams.MaxBytes })
	age.DefaultText, bytes.DefaultText = "no bound", "no bound"
	return []Setting{
		checked("SUBJECT_PREFIX", "", "put before every subject, with a dot", "tokens of letters, digits, - and _, joined by dots",
			subjectTokens, func(s *Settings) *string { return &s.Subjects.Prefix }),
		boolean("SUBJECT_PER_CONNECTION", "appends `.<connection_id>` to output subjects", func(s *Settings) *bool { return &s.Subjects.PerConnection }),
		{
			Env: "REDIRECT_URI_ALLOW", DefaultText: "any absolute https URL, and http on loopback", Doc: "origins that `redirect_uri` may have",
			Allowed: "comma list of origins, like https://app.example.com", set: setOrigins,
		},
		size("MAX_INPUT_BYTES", "512KiB", "largest input event; a larger one is a dead letter", 1<<10, 64<<20, func(s *Settings) *int64 { return &s.Subjects.MaxInputBytes }),
		stream("STREAM_REQUESTS", DefaultStreamRequests, "`user.connect.requested`", func(s *Streams) *string { return &s.Requests }),
		stream("STREAM_SYNCS", DefaultStreamRequests, "`transactions.sync.requested`, which the connector publishes to as well", func(s *Streams) *string { return &s.Syncs }),
		stream("STREAM_ERASURES", DefaultStreamRequests, "`user.erasure.requested`", func(s *Streams) *string { return &s.Erasures }),
		stream("STREAM_CALLBACKS", DefaultStreamCallbacks, "callbacks", func(s *Streams) *string { return &s.Callbacks }),
		stream("STREAM_EVENTS", DefaultStreamEvents, "output events", func(s *Streams) *string { return &s.Events }),
		stream("STREAM_TIMERS", DefaultStreamTimers, "timers", func(s *Streams) *string { return &s.Timers }),
		stream("STREAM_DLQ", DefaultStreamDLQ, "dead letters", func(s *Streams) *string { return &s.DLQ }),
		replicas, age, bytes,
	}
}

func subjectTokens(v string) bool {
	for token := range strings.SplitSeq(v, ".") {
		if token == "" || strings.Trim(token, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			return false
		}
	}
	return true
}

// setOrigins writes origins the way they are compared: lower case, without
// the port that the scheme implies.
func setOrigins(s *Settings, v string) error {
	bad := errors.New("comma list of origins (scheme, host and maybe port, no path), like https://app.example.com")
	var origins []string
	for part := range strings.SplitSeq(v, ",") {
		u, ok := absoluteURL(strings.TrimSpace(part), "http", "https")
		if !ok || strings.Trim(u.Path, "/") != "" {
			return bad
		}
		host := strings.ToLower(u.Host)
		if port := u.Port(); u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
			host = strings.TrimSuffix(host, ":"+port)
		}
		origins = append(origins, u.Scheme+"://"+host)
	}
	s.Subjects.RedirectURIAllow = origins
	return nil
}

func fetchTable() []Setting {
	return []Setting{
		duration("SYNC_INTERVAL", "6h", "how often an established connection is fetched again (finX refreshes up to 4 times a day)", time.Second, 90*24*time.Hour, func(s *Settings) *time.Duration { return &s.Fetch.Interval }),
		count("PAGE_SIZE", "1000", "transactions asked for at once", 100000, func(s *Settings) *int { return &s.Fetch.PageSize }),
		size("CHUNK_BYTES", "512KiB", "largest `transactions.fetched` event; never above the broker's max_payload. A larger transaction goes to the object store", 16<<10, 64<<20, func(s *Settings) *int64 { return &s.Fetch.ChunkBytes }),
		duration("FETCH_OVERLAP", "240h", "how far a window reaches back over the last one, for transactions that are booked late", 0, 365*24*time.Hour, func(s *Settings) *time.Duration { return &s.Fetch.Overlap }),
		oneOf("FETCH_SINCE_TYPE", "booked", "which date of a transaction a window is about", func(s *Settings) *string { return &s.Fetch.SinceType }, "booked", "created", "modified"),
	}
}

func handlingTable() []Setting {
	lane := func(env, def, doc string, at func(*Concurrency) *int) Setting {
		return count(env, def, doc+" handled at once, a process", 4096, func(s *Settings) *int { return at(&s.Concurrency) })
	}
	span := func(env, def, doc string, low, high time.Duration, at func(*Handling) *time.Duration) Setting {
		return duration(env, def, doc, low, high, func(s *Settings) *time.Duration { return at(&s.Handling) })
	}
	const day = 24 * time.Hour
	lease := span("LEASE_TTL", "", "how long a lock outlives the process that held it", 2*time.Second, 10*time.Minute, func(h *Handling) *time.Duration { return &h.LeaseTTL })
	lease.DefaultText = "as `ACK_WAIT`, but 2s to 20s"
	return []Setting{
		lane("CONNECT_CONCURRENCY", "16", "connect requests", func(c *Concurrency) *int { return &c.Connects }),
		lane("CALLBACK_CONCURRENCY", "32", "callbacks", func(c *Concurrency) *int { return &c.Callbacks }),
		lane("SYNC_CONCURRENCY", "16", "fetches", func(c *Concurrency) *int { return &c.Syncs }),
		lane("ERASURE_CONCURRENCY", "2", "erasures", func(c *Concurrency) *int { return &c.Erasures }),
		lane("DUE_CONCURRENCY", "8", "due timers", func(c *Concurrency) *int { return &c.Due }),
		span("CONNECT_TIMEOUT", "2m", "deadline of one connect request", time.Second, day, func(h *Handling) *time.Duration { return &h.ConnectTimeout }),
		span("CALLBACK_TIMEOUT", "5m", "deadline of one callback; at least `FINX_TIMEOUT_TOKEN`", time.Second, day, func(h *Handling) *time.Duration { return &h.CallbackTimeout }),
		span("SYNC_TIMEOUT", "1h", "deadline of one fetch; at least `FINX_TIMEOUT_TOKEN`", time.Second, day, func(h *Handling) *time.Duration { return &h.SyncTimeout }),
		span("ACK_WAIT", "30s", "how long a crashed process keeps its events from the others", time.Second, time.Hour, func(h *Handling) *time.Duration { return &h.AckWait }),
		lease,
		count("MAX_ATTEMPTS", "20", "attempts before an event becomes a dead letter; an outage does not count", 1000, func(s *Settings) *int { return &s.Handling.MaxAttempts }),
		span("RETRY_DELAY_MAX", "1m", "longest delay between two attempts", time.Millisecond, time.Hour, func(h *Handling) *time.Duration { return &h.RetryDelayMax }),
		span("PARK_AFTER", "1m", "an event that has to wait longer than this becomes a timer; with the consumer it would hold the place of another", time.Second, day, func(h *Handling) *time.Duration { return &h.ParkAfter }),
		count("BREAKER_FAILURES", "5", "failed calls in a row, without one answered, after which finX or Vault is left alone for a while", 1000, func(s *Settings) *int { return &s.Handling.BreakerFailures }),
		span("BREAKER_WAIT_MAX", "1m", "longest such while, doubled from one second; a longer one named by finX is kept", time.Second, time.Hour, func(h *Handling) *time.Duration { return &h.BreakerWaitMax }),
		span("OUTAGE_AFTER", "24h", "how long an event waits for a dependency that is away before it becomes a dead letter", time.Second, 90*day, func(h *Handling) *time.Duration { return &h.OutageAfter }),
		span("PUBLISH_TIMEOUT", "60s", "how long a publish is tried, under one id; a leader election takes 5 to 6 s", time.Second, time.Hour, func(h *Handling) *time.Duration { return &h.PublishTimeout }),
	}
}

func processTable() []Setting {
	return []Setting{
		checked("LISTEN_ADDR", ":8080", "`/healthz`, `/readyz`, `/metrics`", "host:port, the host may be empty", func(v string) bool {
			_, port, err := net.SplitHostPort(v)
			if err != nil {
				return false
			}
			_, err = strconv.ParseUint(port, 10, 16)
			return err == nil
		}, func(s *Settings) *string { return &s.Process.ListenAddr }),
		{
			Env: "LOG_LEVEL", Default: "info", Doc: "least severe level that is logged", Allowed: "one of debug, info, warn, error",
			set: func(s *Settings, v string) error {
				for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
					if strings.EqualFold(v, l.String()) {
						s.Process.LogLevel = l
						return nil
					}
				}
				return errors.New("one of debug, info, warn, error")
			},
		},
		oneOf("LOG_FORMAT", "json", "how log lines are written", func(s *Settings) *string { return &s.Process.LogFormat }, "json", "text"),
		otlpEndpoint("OTEL_EXPORTER_OTLP_ENDPOINT", "where traces go, with /v1/traces behind it; the rest of OpenTelemetry's variables is honoured as well (docs/tracing.md)",
			func(s *Settings) *string { return &s.Process.OTLPEndpoint }),
		otlpEndpoint("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "where traces go, taken as it is; wins over OTEL_EXPORTER_OTLP_ENDPOINT",
			func(s *Settings) *string { return &s.Process.OTLPTracesEndpoint }),
		duration("DRAIN_TIMEOUT", "45s", "how long running work may take to end at a shutdown", 0, time.Hour, func(s *Settings) *time.Duration { return &s.Process.DrainTimeout }),
	}
}

// otlpEndpoint is the URL of a collector of traces.
func otlpEndpoint(env, doc string, field func(*Settings) *string) Setting {
	const allowed = "absolute http or https URL"
	return Setting{
		Env: env, DefaultText: "off", Doc: doc, Allowed: allowed,
		set: func(s *Settings, v string) error {
			if _, ok := absoluteURL(v, "http", "https"); !ok {
				return errors.New(allowed)
			}
			*field(s) = v
			return nil
		},
	}
}
