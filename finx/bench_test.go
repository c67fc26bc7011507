package finx

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"
)

// samplePage is a page of n transactions of the usual size, some 520 bytes each.
func samplePage(n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"transactions":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"transaction_id":"T%d.55","account_id":"A998944684550094849.1","amount":-%d.%02d,"currency":"EUR",`+
			`"iban":"DE99012345678910020030","bic":"DEMOBANKXXX","bank_name":"Bank XYZ","name":"Some Supermarket GmbH","booked":true,`+
			`"booked_at":"2026-08-30T00:00:00.000Z","settled_at":"2026-08-30T00:00:00.000Z","booking_text":"Dauer-Euro-Überweisung",`+
			`"purpose":"EREF+%d MREF+M-55 SVWZ+Einkauf \u0026 mehr","type":"Direct debit","categories":[{"id":150,"name":"Lebenshaltung","parent_id":null}],`+
			`"created_at":"2026-08-30T00:00:00.000Z","modified_at":"2026-08-31T00:00:00.000Z"}`, i, i%97, i%100, i)
	}
	b.WriteString(`],"status":{"synced_at":"2026-08-31T00:00:00Z"}}`)
	return b.Bytes()
}

// The cost of a page once its bytes are here: the floor in the performance notes
// is 474,000 transactions a second for the bare decoder.
func BenchmarkCutPage(b *testing.B) {
	const count = 1000
	buf := PageBuffer{body: samplePage(count)}
	b.SetBytes(int64(len(buf.body)))
	b.ReportAllocs()
	for b.Loop() {
		page, err := buf.cut()
		if err != nil || len(page.Items) != count {
			b.Fatal(len(page.Items), err)
		}
	}
	b.ReportMetric(float64(count)*float64(b.N)/b.Elapsed().Seconds(), "tx/s")
}

// Reading and cutting, as for every page after the first.
func BenchmarkReadPage(b *testing.B) {
	const count = 1000
	body := samplePage(count)
	var buf PageBuffer
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		resp := &http.Response{ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body))}
		if _, err := buf.read(resp, DefaultMaxBodyBytes); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(count)*float64(b.N)/b.Elapsed().Seconds(), "tx/s")
}

// The next page of the same size costs next to nothing in memory.
func TestPagesAfterTheFirstAllocateLittle(t *testing.T) {
	body := samplePage(1000)
	buf := PageBuffer{}
	read := func() {
		resp := &http.Response{ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body))}
		if _, err := buf.read(resp, DefaultMaxBodyBytes); err != nil {
			t.Fatal(err)
		}
	}
	read()
	if n := testing.AllocsPerRun(20, read); n > 25 {
		t.Errorf("%v allocations for a page of 1000", n)
	}
}
