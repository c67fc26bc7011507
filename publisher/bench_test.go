package publisher

import (
	"strconv"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/finx-connector/finx-connector/events"
	"github.com/finx-connector/finx-connector/internal/natstest"
)

const (
	benchTransactions = 200_000
	benchSize         = 500
)

func benchStream(b *testing.B) (jetstream.JetStream, jetstream.Stream) {
	b.Helper()
	js := natstest.JetStream(b, natstest.Start(b).URL())
	return js, createStream(b, js, jetstream.StreamConfig{
		Name: events.StreamEvents, Subjects: []string{"transactions.>"}, Storage: jetstream.FileStorage,
	})
}

// BenchmarkFetchWriter sends 200,000 transactions of one account through the
// writer onto a real server in this process; Floor publishes as many bytes as
// ready-made messages of the same size, with nothing done to them.
func BenchmarkFetchWriter(b *testing.B) {
	js, s := benchStream(b)
	p := newPublisher(b, Config{JS: js})
	txs := make([][]byte, 1000) // stands for a page
	for i := range txs {
		txs[i] = transaction(i, benchSize)
	}
	b.SetBytes(benchTransactions * benchSize)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m := meta()
		m.FetchID = events.UUIDv5("fetch", strconv.Itoa(i))
		w := p.NewFetchWriter(m, 0)
		w.StartAccount(head("a"))
		for n := range benchTransactions {
			if err := w.Add(b.Context(), txs[n%len(txs)]); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := w.FinishAccount(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := s.Purge(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N)*benchTransactions/b.Elapsed().Seconds(), "tx/s")
}

// BenchmarkFloor is what the broker and the client take by themselves.
func BenchmarkFloor(b *testing.B) {
	js, s := benchStream(b)
	const size = DefaultChunkBytes
	msg := &nats.Msg{Subject: events.TypeTransactionsFetched, Header: nats.Header{}, Data: make([]byte, size)}
	b.SetBytes(benchTransactions * benchSize)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		for n := range benchTransactions*benchSize/size + 1 {
			msg.Header[events.HeaderMsgID] = []string{strconv.Itoa(i) + "." + strconv.Itoa(n)}
			if _, err := js.PublishMsg(b.Context(), msg); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		if err := s.Purge(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N)*benchTransactions/b.Elapsed().Seconds(), "tx/s")
}

// BenchmarkCut is the writer's own work: cutting, ids, encoding, no broker.
func BenchmarkCut(b *testing.B) {
	tx := transaction(1, benchSize)
	d := make([]byte, 0, DefaultChunkBytes)
	for len(d)+len(tx)+1 < DefaultChunkBytes-4<<10 {
		d = append(append(d, tx...), ',')
	}
	var data, body []byte
	b.SetBytes(int64(len(d)))
	b.ReportAllocs()
	for b.Loop() {
		o := events.NewTransactionsFetchedIn(data, meta().Cause, events.TransactionsFetched{
			ConnectionID: connectionID, FetchID: meta().FetchID, AccountID: "a", Account: head("a").Raw, Transactions: d[:len(d)-1],
		})
		data = o.Data
		body = o.AppendJSON(body[:0])
	}
}
