package finx

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
	"github.com/finx-connector/finx-connector/internal/guard"
)

// answerOf is a 2xx answer, with or without its length.
func answerOf(ctx context.Context, body []byte, length int64) *http.Response {
	req := new(http.Request).WithContext(ctx)
	return &http.Response{Request: req, StatusCode: http.StatusOK, ContentLength: length, Body: io.NopCloser(bytes.NewReader(body))}
}

func (p *PagePool) inUse() (used int64, waiting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used, len(p.queue)
}

// Pages are let in by the order in which they came, as far as they fit; one that
// is larger than everything is let in alone.
func TestPagesWaitForMemoryInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPagePool(100)
		var mu sync.Mutex
		var in []int64
		for _, length := range []int64{60, 40, 30, 500, 10} {
			go func() {
				n, err := p.acquire(t.Context(), length)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				in = append(in, length)
				mu.Unlock()
				time.Sleep(time.Second)
				p.change(-n)
			}()
			synctest.Wait()
		}
		for i, want := range [][]int64{{60, 40}, {60, 40, 30}, {60, 40, 30, 500}, {60, 40, 30, 500, 10}} {
			mu.Lock()
			if !slices.Equal(in, want) {
				t.Errorf("after %d s: %v, want %v", i, in, want)
			}
			mu.Unlock()
			time.Sleep(time.Second)
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		if used, waiting := p.inUse(); used != 0 || waiting != 0 {
			t.Errorf("%d bytes in use, %d waiting", used, waiting)
		}
	})
}

// Who gives up waiting lets the next one pass and blames nobody.
func TestAPageThatFindsNoMemoryIsNoFaultOfFinX(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPagePool(1000)
		held, err := p.acquire(t.Context(), 500)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		buf := p.Buffer()
		var failed error
		go func() { _, failed = buf.read(answerOf(ctx, samplePage(1), 900), DefaultMaxBodyBytes) }()
		synctest.Wait()
		passed := false
		go func() {
			if n, err := p.acquire(t.Context(), 400); err == nil {
				passed = true
				p.change(-n)
			}
		}()
		time.Sleep(time.Second)
		synctest.Wait()
		if !passed || !errors.Is(failed, errNoRoom) {
			t.Errorf("the next passed: %t, error %v", passed, failed)
		}
		if used, waiting := p.inUse(); used != held || waiting != 0 {
			t.Errorf("%d bytes in use, %d waiting", used, waiting)
		}
		answer, verdict := new(Client).unusable(t.Context(), t.Context(), call{}, answerOf(ctx, nil, 0), failed)
		if answer.Kind != guard.Alive || fault.Of(verdict) != fault.WaitUntil || fault.DependencyOf(verdict) != "" {
			t.Errorf("answer %+v, verdict %v", answer, verdict)
		}
	})
}

// A buffer has memory from the answer to Free, and what is counted is what it takes.
func TestABufferOfAPoolHoldsMemoryWhileItHoldsAPage(t *testing.T) {
	p := NewPagePool(64 << 20)
	a, b := p.Buffer(), p.Buffer()
	body := samplePage(1000)
	for _, length := range []int64{int64(len(body)), -1} {
		page, err := a.read(answerOf(t.Context(), body, length), DefaultMaxBodyBytes)
		if err != nil || len(page.Items) != 1000 {
			t.Fatal(len(page.Items), err)
		}
		if used, _ := p.inUse(); used < int64(len(body)) || used > 3*int64(len(body)) {
			t.Errorf("%d bytes are counted for a page of %d", used, len(body))
		}
		a.Free()
		a.Free()
		if used, _ := p.inUse(); used != 0 || a.body != nil {
			t.Errorf("%d bytes in use after Free", used)
		}
		if _, err := b.read(answerOf(t.Context(), body, length), DefaultMaxBodyBytes); err != nil {
			t.Fatal(err)
		}
		b.Free()
	}
	for _, broken := range [][]byte{nil, body[:len(body)/2], []byte("\xff")} {
		if _, err := a.read(answerOf(t.Context(), broken, -1), DefaultMaxBodyBytes); err == nil {
			t.Errorf("a page of %d bytes is taken", len(broken))
		}
	}
	if _, err := a.read(answerOf(t.Context(), body, -1), 1000); !errors.Is(err, ErrBodyTooLarge) {
		t.Errorf("error %v", err)
	}
	if used, _ := p.inUse(); used != 0 {
		t.Errorf("%d bytes are counted for pages that were not taken", used)
	}
}

// Answers of unknown length are taken to be as long as the ones before, so that few are let in until something is known.
func TestUnknownLengthsAreTakenForTheUsual(t *testing.T) {
	p := NewPagePool(32 << 20)
	if n, err := p.acquire(t.Context(), -1); n != firstPage || err != nil {
		t.Errorf("%d bytes at first, %v", n, err)
	}
	for range 100 {
		p.seen(50_000)
	}
	if n, err := p.acquire(t.Context(), -1); n < 50_000 || n > 60_000 || err != nil {
		t.Errorf("%d bytes after many pages of 50,000, %v", n, err)
	}
	p.seen(900_000)
	if n, err := p.acquire(t.Context(), -1); n != 900_000 || err != nil {
		t.Errorf("%d bytes after one of 900,000, %v", n, err)
	}
}
