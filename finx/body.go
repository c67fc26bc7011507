package finx

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
)

const (
	maxErrorBody = 5 << 10  // of an error answer, enough for every documented one
	maxDrain     = 16 << 10 // read on to keep a connection; beyond that a new one is cheaper
	firstRead    = 4 << 10
	maxTrust     = 1 << 20 // of Content-Length, before a byte has come
)

// ErrBodyTooLarge reports an answer above Config.MaxBodyBytes. A page of fewer
// transactions may fit.
var ErrBodyTooLarge = errors.New("the body is too large")

// appendBody reads the body of resp to the end and appends it to dst, at most
// limit bytes. What has come before an error is returned with it.
func appendBody(dst []byte, resp *http.Response, limit int64) ([]byte, error) {
	if resp.ContentLength > limit {
		return dst, fmt.Errorf("%w: %d bytes, limit %d", ErrBodyTooLarge, resp.ContentLength, limit)
	}
	// One byte more than is expected lets the last Read see the end without growing.
	dst = slices.Grow(dst, int(min(max(resp.ContentLength+1, firstRead), maxTrust)))
	start := len(dst)
	for {
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, max(firstRead, len(dst)))
		}
		n, err := resp.Body.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if int64(len(dst)-start) > limit {
			return dst, fmt.Errorf("%w: limit %d", ErrBodyTooLarge, limit)
		}
		if errors.Is(err, io.EOF) {
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
	}
}

// errorBodyBytes reads the beginning of an error answer. A body that cannot be
// read changes nothing: the status has been given.
func errorBodyBytes(resp *http.Response) []byte {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	return b
}

// drain reads on to the end when little is left, so that Close gives the
// connection back to the pool.
func drain(body io.Reader) { _, _ = io.CopyN(io.Discard, body, maxDrain) }
