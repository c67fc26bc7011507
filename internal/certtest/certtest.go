// Package certtest makes certificates for tests: an authority, and what it signs,
// as files, because that is how the program is given them. Only tests may import it.
package certtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority signs certificates. Its methods must be called from the test's goroutine.
type Authority struct {
	File string // its own certificate, PEM

	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes one.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{t: t, File: filepath.Join(t.TempDir(), "ca.pem")}
	var der []byte
	a.cert, a.key, der = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	a.write(a.File, "CERTIFICATE", der)
	return a
}

// Pool holds the certificates of authorities.
func Pool(all ...*Authority) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, a := range all {
		pool.AddCert(a.cert)
	}
	return pool
}

// Pair is a certificate and its key, as PEM files.
type Pair struct{ CertFile, KeyFile string }

// Load reads the files.
func (p Pair) Load(t testing.TB) tls.Certificate {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(p.CertFile, p.KeyFile)
	if err != nil {
		t.Fatalf("certtest: loading a pair: %v", err)
	}
	return cert
}

// Replace puts the content of other into the files of p, as whoever renews
// certificates does.
func (p Pair) Replace(t testing.TB, other Pair) {
	t.Helper()
	Replace(t, p.KeyFile, other.KeyFile)
	Replace(t, p.CertFile, other.CertFile)
}

// Replace puts the content of one file in the place of another, at once.
func Replace(t testing.TB, file, by string) {
	t.Helper()
	data, err := os.ReadFile(by)
	if err == nil {
		if err = os.WriteFile(file+".new", data, 0o600); err == nil {
			err = os.Rename(file+".new", file)
		}
	}
	if err != nil {
		t.Fatalf("certtest: replacing a file: %v", err)
	}
}

// Server issues a certificate for 127.0.0.1 and localhost that is good for an hour.
func (a *Authority) Server() Pair {
	a.t.Helper()
	return a.Issue(&x509.Certificate{DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
}

// Client issues a certificate of that name that is good for an hour.
func (a *Authority) Client(name string) Pair {
	a.t.Helper()
	return a.Issue(&x509.Certificate{Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

// Issue signs what the template says. A missing NotAfter is in an hour, a missing
// ExtKeyUsage is both that of a server and of a client, as nodes of a cluster need.
func (a *Authority) Issue(template *x509.Certificate) Pair {
	a.t.Helper()
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	if template.ExtKeyUsage == nil {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	_, key, der := a.sign(template)
	dir := a.t.TempDir()
	p := Pair{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}
	a.write(p.CertFile, "CERTIFICATE", der)
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatalf("certtest: writing a key: %v", err)
	}
	a.write(p.KeyFile, "EC PRIVATE KEY", keyDER)
	return p
}

// sign makes a key and a certificate for it, signed by the authority, or by itself
// when that is what is being made.
func (a *Authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatalf("certtest: making a key: %v", err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore = template.NotAfter.Add(-24 * time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatalf("certtest: signing: %v", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatalf("certtest: reading back: %v", err)
	}
	return cert, key, der
}

func (a *Authority) write(path, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatalf("certtest: writing %s: %v", kind, err)
	}
}
