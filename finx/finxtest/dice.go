package finxtest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
)

// digest names a token without keeping it.
type digest [sha256.Size]byte

func digestOf(token string) digest { return sha256.Sum256([]byte(token)) }

const tokenAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// opaque returns a random token of n bytes that begins with prefix.
func opaque(prefix string, n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the program instead
	for i := range b {
		b[i] = tokenAlphabet[b[i]&63]
	}
	copy(b, prefix)
	return string(b)
}

const (
	jwtHeader    = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9" // {"alg":"HS256","typ":"JWT"}
	jwtSignature = 43                                     // bytes of an HS256 signature
)

// jwtShaped returns a random token of n bytes that looks like a JWT, or an
// opaque one when n is too short for that.
func jwtShaped(n int) string {
	payload := n - len(jwtHeader) - jwtSignature - 2
	if payload < 8 {
		return opaque("O", n)
	}
	return jwtHeader + "." + opaque("eyJ", payload) + "." + opaque("", jwtSignature)
}

// mix is SplitMix64's finaliser: one multiplication chain turns a counter into
// bits that look random, so the i-th item of a history needs no items before it.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// seedOf derives a number from the seed and some names.
func seedOf(seed uint64, names ...string) uint64 {
	h := sha256.New()
	_ = binary.Write(h, binary.BigEndian, seed)
	for _, n := range names {
		_ = binary.Write(h, binary.BigEndian, uint64(len(n)))
		h.Write([]byte(n))
	}
	return binary.BigEndian.Uint64(h.Sum(nil))
}

// dice deals the pieces of one generated object, in a fixed order.
type dice struct{ state uint64 }

func (d *dice) next() uint64 {
	d.state++
	return mix(d.state)
}

func (d *dice) below(n int) int { return int(d.next() % uint64(n)) }
