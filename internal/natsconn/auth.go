package natsconn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// authOptions reads every named file once, so that a wrong path is reported at
// the start and by the name of its setting, and not as a refused connection.
func authOptions(cfg Config) ([]nats.Option, error) {
	var opts []nats.Option
	if cfg.CredsFile != "" && cfg.NkeySeedFile != "" {
		return nil, errors.New("natsconn: reading credentials: NATS_CREDS and NATS_NKEY_SEED_FILE are both set; keep one")
	}
	if cfg.CredsFile != "" {
		if err := checkCreds(cfg.CredsFile); err != nil {
			return nil, err
		}
		opts = append(opts, nats.UserCredentials(cfg.CredsFile))
	}
	if cfg.NkeySeedFile != "" {
		opt, err := nats.NkeyOptionFromSeed(cfg.NkeySeedFile)
		if err != nil {
			if rerr := readable("NATS_NKEY_SEED_FILE", cfg.NkeySeedFile); rerr != nil {
				return nil, rerr
			}
			return nil, errors.New("natsconn: reading NATS_NKEY_SEED_FILE: the file holds no user nkey seed")
		}
		opts = append(opts, opt)
	}
	tlsOpts, err := tlsOptions(cfg)
	if err != nil {
		return nil, err
	}
	return append(opts, tlsOpts...), nil
}

func checkCreds(path string) error {
	if err := readable("NATS_CREDS", path); err != nil {
		return err
	}
	data, err := os.ReadFile(path) //nolint:gosec // the path is the operator's own setting
	if err != nil {
		return fmt.Errorf("natsconn: reading NATS_CREDS: %w", err)
	}
	if jwt, err := nkeys.ParseDecoratedJWT(data); err != nil || jwt == "" {
		return errors.New("natsconn: reading NATS_CREDS: the file holds no user JWT")
	}
	pair, err := nkeys.ParseDecoratedNKey(data)
	if err != nil {
		return errors.New("natsconn: reading NATS_CREDS: the file holds no user nkey seed")
	}
	pair.Wipe()
	return nil
}

func tlsOptions(cfg Config) ([]nats.Option, error) {
	var opts []nats.Option
	if cfg.TLSFirst {
		opts = append(opts, nats.TLSHandshakeFirst())
	}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("natsconn: reading NATS_CA: %w", err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("natsconn: reading NATS_CA: %s holds no PEM certificate", cfg.CAFile)
		}
		opts = append(opts, nats.RootCAs(cfg.CAFile))
	}
	if (cfg.CertFile == "") != (cfg.KeyFile == "") {
		return nil, errors.New("natsconn: reading client certificate: NATS_CERT and NATS_KEY go together")
	}
	if cfg.CertFile != "" {
		if err := readable("NATS_CERT", cfg.CertFile); err != nil {
			return nil, err
		}
		if err := readable("NATS_KEY", cfg.KeyFile); err != nil {
			return nil, err
		}
		if _, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile); err != nil {
			return nil, fmt.Errorf("natsconn: reading NATS_CERT and NATS_KEY: %w", err)
		}
		opts = append(opts, nats.ClientCert(cfg.CertFile, cfg.KeyFile))
	}
	return opts, nil
}

func readable(setting, path string) error {
	f, err := os.Open(path) //nolint:gosec // the path is the operator's own setting
	if err != nil {
		return fmt.Errorf("natsconn: reading %s: %w", setting, err)
	}
	return f.Close()
}
