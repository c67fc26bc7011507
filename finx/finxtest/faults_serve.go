package finxtest

import (
	"bytes"
	"maps"
	"net/http"
	"strconv"
	"time"
)

// serveFault answers r as the fault wants it. The real answer, when there is
// one, is taken into memory first, because the state has to have changed
// completely before the connection suffers.
func serveFault(w http.ResponseWriter, r *http.Request, next http.Handler, f Fault) {
	after := f.When == "after" || f.Drop == "after"
	if f.Drop == "before" {
		pause(r, f.Delay)
		panic(http.ErrAbortHandler)
	}
	if !after {
		pause(r, f.Delay)
	}
	rec := &recorder{header: http.Header{}}
	if f.Status == 0 || after {
		next.ServeHTTP(rec, r)
	}
	if after {
		pause(r, f.Delay)
	}
	if f.Drop == "after" {
		panic(http.ErrAbortHandler)
	}
	if f.Status != 0 {
		rec = &recorder{header: http.Header{}}
		f.writeAnswer(rec)
	}
	f.send(w, r, rec)
}

// writeAnswer writes the fault's own answer.
func (f Fault) writeAnswer(w http.ResponseWriter) {
	if f.RetryAfter != "" {
		w.Header().Set("Retry-After", string(f.RetryAfter))
	}
	switch {
	case f.HTML != "":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(f.Status)
		_, _ = w.Write([]byte(f.HTML))
	case f.Body != "":
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(f.Status)
		_, _ = w.Write([]byte(f.Body))
	case f.Status < 300:
		w.WriteHeader(f.Status)
	default:
		writeError(w, f.Status, f.Code, http.StatusText(f.Status), nil)
	}
}

// send sends a recorded answer, whole, truncated or drop by drop.
func (f Fault) send(w http.ResponseWriter, r *http.Request, rec *recorder) {
	maps.Copy(w.Header(), rec.header)
	body := rec.body.Bytes()
	bodyAllowed := rec.status != http.StatusNoContent && rec.status != http.StatusNotModified
	if bodyAllowed {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(rec.status)
	if !bodyAllowed {
		return
	}
	truncated := f.Truncate > 0 && f.Truncate < len(body)
	if truncated {
		body = body[:f.Truncate]
	}
	f.write(w, r, body)
	if truncated {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

func (f Fault) write(w http.ResponseWriter, r *http.Request, body []byte) {
	if f.Drip == nil {
		_, _ = w.Write(body)
		return
	}
	flush := http.NewResponseController(w)
	for len(body) > 0 && r.Context().Err() == nil {
		n := min(f.Drip.Bytes, len(body))
		if _, err := w.Write(body[:n]); err != nil {
			return
		}
		_ = flush.Flush()
		if body = body[n:]; len(body) > 0 {
			pause(r, f.Drip.Interval)
		}
	}
}

// pause waits, or less when the client has gone.
func pause(r *http.Request, d Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(time.Duration(d))
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	}
}

// recorder takes an answer into memory.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(b)
}
