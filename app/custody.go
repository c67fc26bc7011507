package app

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/finx-connector/finx-connector/connection/connectionkv"
	"github.com/finx-connector/finx-connector/custody"
	"github.com/finx-connector/finx-connector/internal/secret"
)

// openCustody builds the keeper of the tokens, with the escrow that its answers
// go to when Vault does not take them.
func (p *process) openCustody(ctx context.Context, tokens custody.TokenEndpoint, locker *connectionkv.Locker) error {
	escrow, err := p.escrow()
	if err != nil {
		return err
	}
	s := p.Settings
	p.custodyMetrics = custody.NewMetrics(p.reg)
	p.keeper, err = custody.New(custody.Config{
		Secrets: p.secrets, Tokens: tokens, Lock: waitFor(locker, time.Second), Holder: locker.Owner,
		CallLimit: s.FinX.Timeouts.Token, RefreshSkew: s.FinX.RefreshSkew, ClockSkew: s.Handling.ClockSkew,
		Replay: custody.ReplayPolicy(s.FinX.TokenReplay), Escrow: escrow,
		Logger: p.Logger, Metrics: p.custodyMetrics,
	})
	if err != nil {
		return err
	}
	p.watchUnstored(escrow != nil)
	if escrow == nil {
		p.Logger.WarnContext(ctx, "no escrow is configured: tokens that Vault does not take will not outlive this process")
	}
	return nil
}

// escrow seals with the configured keys, or with Vault's Transit engine. With
// neither there is none.
func (p *process) escrow() (*custody.Escrow, error) {
	v := p.Settings.Vault
	var e custody.Escrow
	switch keys, isVault := p.secrets.(custody.DataKeys); {
	case !v.EscrowKeys.IsZero():
		static, err := custody.NewStaticKeys(splitSecret(v.EscrowKeys)...)
		if err != nil {
			return nil, err
		}
		e.Keys = static
	case isVault && v.TransitKey != "":
		e.Keys = keys
	default:
		return nil, nil
	}
	bucket, err := connectionkv.NewEscrow(connectionkv.Config{JS: p.js, Metrics: p.kvMetrics})
	if err != nil {
		return nil, err
	}
	e.Bucket = bucket
	p.health.checks = append(p.health.checks, check{"escrow", bucket.Check})
	if v.EscrowDir != "" {
		spool, err := custody.NewSpool(v.EscrowDir)
		if err != nil {
			return nil, err
		}
		e.Spool = spool
	}
	return &e, nil
}

func splitSecret(list secret.Text) []secret.Text {
	var all []secret.Text
	for one := range strings.SplitSeq(list.Reveal(), ",") {
		all = append(all, secret.New(strings.TrimSpace(one)))
	}
	return all
}

// watchUnstored makes tokens that Vault does not have yet an alarm.
func (p *process) watchUnstored(escrow bool) {
	gauge := func(name, help string, read func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "finx_connector_custody_" + name, Help: help}, read)
	}
	p.reg.MustRegister(
		gauge("unstored", "Connections whose newest tokens this process holds, because Vault does not take them.",
			func() float64 { return float64(p.keeper.Unstored().Answers) }),
		gauge("unstored_memory_only", "Those of them that are in the memory of this process and nowhere else: neither in escrow nor in ESCROW_DIR.",
			func() float64 { u := p.keeper.Unstored(); return float64(u.Answers - u.Escrow - u.Spool) }),
		gauge("unstored_oldest_seconds", "For how long the oldest of them has been waiting; 0 when there is none.",
			func() float64 { return p.keeper.Unstored().Oldest.Seconds() }),
		gauge("exposed", "Token calls that would lose something if this process ended now: under way, or neither in Vault nor in escrow.",
			func() float64 { return float64(p.keeper.Exposed()) }),
		gauge("escrow_ready", "1 while answers can be sealed for escrow, 0 without a key or without an escrow.",
			func() float64 { return oneIf(escrow && p.keeper.EscrowReady()) }),
	)
	p.health.checks = append(p.health.checks, check{"custody", func(context.Context) error { return inHand(p.keeper.Unstored()) }})
}

// inHand says what would be lost if this process ended now.
func inHand(u custody.Unstored) error {
	if u.Oldest <= unstoredQuiet {
		return nil
	}
	since, nowhere := u.Oldest.Round(time.Second), u.Answers-u.Escrow-u.Spool
	switch {
	case nowhere > 0:
		return fmt.Errorf("tokens of %d connections are in memory only, since %s: do not stop this process before Vault takes writes", nowhere, since)
	case u.Spool > 0:
		return fmt.Errorf("tokens of %d connections are in ESCROW_DIR of this host only, since %s, because neither Vault nor the broker takes them", u.Spool, since)
	}
	return fmt.Errorf("tokens of %d connections are in escrow, since %s, because Vault does not take them", u.Escrow, since)
}

// unstoredQuiet is how long an answer may be on its way to Vault without it
// being news; the usual way takes milliseconds.
const unstoredQuiet = 5 * time.Second
