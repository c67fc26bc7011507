package finx

import "net/http"

// PooledTransport is the transport a Client makes of cfg, for tests to add their
// certificate to.
func PooledTransport(cfg Config) *http.Transport { return newTransport(cfg.withDefaults()) }
