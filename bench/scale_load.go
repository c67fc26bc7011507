package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/finx-connector/finx-connector/connection"
	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/secret"
	"github.com/finx-connector/finx-connector/publisher"
	"github.com/finx-connector/finx-connector/vaultstore"
)

// writers is how many write at once.
const writers = 32

// all calls do for every connection, writers of them at a time, and returns how
// many a second that were.
func (s *sized) all(ctx context.Context, do func(ctx context.Context, i int, id string) error) (rate float64, err error) {
	begun := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(writers)
	for i, id := range s.ids {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error { return do(ctx, i, id) })
	}
	err = g.Wait()
	return float64(len(s.ids)) / time.Since(begun).Seconds(), err
}

// fillBroker writes what the real route leaves behind, through the packages that
// the connector itself writes with, and looks at the disk after each kind.
func (s *sized) fillBroker(ctx context.Context, p pattern) error {
	empty, _, err := memory(s.broker.cmd.Process.Pid)
	if err != nil {
		return err
	}
	s.set("nats_rss_empty", float64(empty))
	records, err := connectionkv.New(connectionkv.Config{JS: s.js})
	if err != nil {
		return err
	}
	pub, err := publisher.New(publisher.Config{JS: s.js, Codec: s.codec})
	if err != nil {
		return err
	}
	for _, kind := range []struct {
		name   string
		stream string
		write  func(ctx context.Context, i int, id string) error
	}{
		{"records", recordsStream, func(ctx context.Context, i int, id string) error { return writeRecord(ctx, records, p, i, id) }},
		{"bindings", recordsStream, func(ctx context.Context, _ int, id string) error { return writeBinding(ctx, records, p, id) }},
		{"timers", events.StreamTimers, func(ctx context.Context, _ int, id string) error { return setTimers(ctx, pub, id) }},
		{"due", events.StreamTimers, s.writeDue},
	} {
		had, err := s.ofStream(kind.stream)
		if err != nil {
			return err
		}
		rate, err := s.all(ctx, kind.write)
		if err != nil {
			return fmt.Errorf("%s: %w", kind.name, err)
		}
		has, err := s.ofStream(kind.stream)
		if err != nil {
			return err
		}
		s.set("write_rate_"+kind.name, rate)
		s.set("nats_disk_"+kind.name, has-had)
		if kind.name == "timers" { // this is where the real route is when its callbacks are done
			if s.got.Held, err = s.held(ctx); err != nil {
				return err
			}
		}
	}
	s.filled = time.Now()
	disk, err := onDisk(s.storeDir())
	if err != nil {
		return err
	}
	s.set("nats_disk", disk)
	return nil
}

// writeRecord writes a record twice, as a link and as an established connection:
// what is overwritten leaves its hole on disk.
func writeRecord(ctx context.Context, records *connectionkv.Store, p pattern, i int, id string) error {
	rec := connection.New(id, userName(i), p.record.CreatedAt)
	rec.Request = json.RawMessage(fmt.Sprintf(`{"redirect_uri":%q,"user_id":%q}`, redirectURI, rec.UserID))
	rec.RedirectURI, rec.OAuthState, rec.CauseID, rec.FlowID = redirectURI, events.NewUUID(), p.record.CauseID, p.record.FlowID
	revision, err := records.Create(ctx, rec)
	if err != nil {
		return err
	}
	done := p.record
	done.ID, done.UserID, done.Request, done.OAuthState = id, rec.UserID, rec.Request, rec.OAuthState
	// Far ahead, so that a connector that finds them has nothing to do.
	done.NextFetchAt, done.KeepAliveAt = time.Now().UTC().Add(24*time.Hour), time.Now().UTC().Add(57*24*time.Hour)
	done.RefreshObtainedAt = time.Now().UTC()
	_, err = records.Update(ctx, done, revision)
	return err
}

func writeBinding(ctx context.Context, records *connectionkv.Store, p pattern, id string) error {
	state := events.NewUUID()
	if err := records.BindState(ctx, state, id); err != nil {
		return err
	}
	return records.ConsumeState(ctx, state, connection.StateBinding{}, p.record.EstablishedBy, p.record.EstablishedAt)
}

func setTimers(ctx context.Context, pub *publisher.Publisher, id string) error {
	at := time.Now().Add(24 * time.Hour)
	if err := pub.ScheduleSync(ctx, id, at, events.SyncRequested{ConnectionID: id, Trigger: events.TriggerSchedule}); err != nil {
		return err
	}
	return pub.ScheduleKeepAlive(ctx, id, at.Add(56*24*time.Hour))
}

// writeDue writes what the broker makes of a timer: the last one that came due
// stays, for a month.
func (s *sized) writeDue(ctx context.Context, _ int, id string) error {
	timer, err := events.NewSyncTimer(id, time.Now(), events.SyncRequested{ConnectionID: id, Trigger: events.TriggerSchedule})
	if err != nil {
		return err
	}
	_, err = s.js.PublishMsg(ctx, &nats.Msg{Subject: s.codec.Subject(timer.DueOn), Data: timer.Body, Header: nats.Header{
		events.HeaderContentType: {events.ContentTypeStructured}, events.HeaderConnectionID: {id},
		"Nats-Scheduler": {s.codec.Subject(timer.WaitsOn)}, "Nats-Schedule-Next": {"purge"}, "Nats-TTL": {publisher.DefaultDueTTL.String()}, "Nats-Rollup": {"sub"},
	}})
	return err
}

// openStore is the connector's own way to Vault.
func (s *sized) openStore() (*vaultstore.Store, error) {
	store, err := vaultstore.New(vaultstore.Config{
		Address: s.vault.Addr, Token: secret.New(s.vault.Token), Mount: kvMount, Prefix: kvPrefix, Concurrency: writers, Timeout: time.Minute,
	})
	if err == nil {
		s.stops = append(s.stops, func() error { store.Close(); return nil })
	}
	return store, err
}

// fillVault writes a secret of the real size for each connection: once as the
// mark of an exchange, once with tokens.
func (s *sized) fillVault(ctx context.Context, p pattern) error {
	empty, err := ownMemory(s.vault.Pid())
	if err != nil {
		return err
	}
	store, err := s.openStore()
	if err != nil {
		return err
	}
	var was struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		Type    string `json:"token_type"`
		Scope   string `json:"scope"`
		Code    string `json:"code_sha256"`
	}
	if err := json.Unmarshal(p.secret, &was); err != nil {
		return fmt.Errorf("reading the pattern of a secret: %w", err)
	}
	before, err := cpu(s.vault.Pid())
	if err != nil {
		return err
	}
	rate, err := s.all(ctx, func(ctx context.Context, _ int, id string) error {
		now := time.Now()
		v, err := store.Put(ctx, id, vaultstore.Record{Pending: &vaultstore.Pending{Kind: "exchange", Holder: "host-1234", StartedAt: now, Attempt: 1, SHA256: was.Code}}, 0)
		if err != nil {
			return err
		}
		_, err = store.Put(ctx, id, vaultstore.Record{
			AccessToken: secret.New(was.Access), RefreshToken: secret.New(was.Refresh), TokenType: was.Type, Scope: was.Scope,
			AccessExpiresAt: now, RefreshObtainedAt: now, Rotation: 1, CodeSHA256: was.Code,
		}, v)
		return err
	})
	if err != nil {
		return err
	}
	after, err := cpu(s.vault.Pid())
	if err != nil {
		return err
	}
	s.set("write_rate_secrets", 2*rate)
	s.set("vault_cpu_us_a_write", (after-before).Seconds()*1e6/float64(2*len(s.ids)))
	s.set("vault_rss_empty", empty)
	return s.weighVault()
}

func (s *sized) weighVault() error {
	anon, err := ownMemory(s.vault.Pid())
	if err != nil {
		return err
	}
	s.set("vault_rss", anon)
	for name, file := range map[string]string{"vault_disk_data": "vault.db", "vault_disk_log": "raft/raft.db"} {
		found, err := filepath.Glob(filepath.Join(s.dir, "vault", "*", file))
		if more, _ := filepath.Glob(filepath.Join(s.dir, "vault", file)); len(found) == 0 {
			found = more
		}
		if err != nil || len(found) != 1 {
			return fmt.Errorf("%s: %d files, %w", file, len(found), err)
		}
		size, err := onDisk(found[0])
		if err != nil {
			return err
		}
		s.set(name, size)
	}
	return nil
}
