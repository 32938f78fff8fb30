package mesos

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"

	"github.com/mesos/mesos-go/api/v1/lib"
	wire "github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/rs/zerolog"

	"tidemill/jobs"
	"tidemill/scheduler"
)

const benchUpdate = `{"type":"UPDATE","update":{"status":{"task_id":{"value":"job.1.20260101T000000Z.0.1.7.1"},"state":"TASK_FINISHED",` +
	`"message":"done","source":"SOURCE_EXECUTOR","agent_id":{"value":"320ccb9d-5a67-4315-92d2-b2194025f97a-S0"},"executor_id":{"value":"tidemill-0a1b2c"},` +
	`"timestamp":1795392996.77267,"uuid":"P5wZI6AjROyPs1mBnkCu3Q==","data":"eyJvdXRjb21lIjoic3VjY2VlZGVkIn0=",` +
	`"container_status":{"container_id":{"value":"19ae8be0-892a-41e1-9c21-902f4db685fe"},"network_infos":[{"ip_addresses":[{"protocol":"IPv4","ip_address":"127.0.0.1"}]}]}}}}`

func eachCodec(b *testing.B, run func(b *testing.B, codec Codec)) {
	for _, codec := range []Codec{JSON, Protobuf} {
		b.Run(codec.mediaType(), func(b *testing.B) { b.ReportAllocs(); run(b, codec) })
	}
}

func BenchmarkDecodeUpdate(b *testing.B) {
	eachCodec(b, func(b *testing.B, codec Codec) {
		frame := transcode(JSON, codec, []byte(benchUpdate), &wire.Event{})
		sub := &subscription{to: &endpoint{codec: codec, url: &url.URL{Scheme: "http"}}, book: newBook(), log: zerolog.Nop()}
		for b.Loop() {
			if list, err := sub.decode(frame); err != nil || len(list) != 1 {
				b.Fatal(list, err)
			}
		}
	})
}

// BenchmarkAccept encodes launches, 50 to a call; the time is a launch's.
func BenchmarkAccept(b *testing.B) {
	const tasks = 50
	launches := make([]scheduler.Launch, tasks)
	spec := specWithEverything()
	for i := range launches {
		launches[i] = scheduler.Launch{
			Task: jobs.TaskID(fmt.Sprintf("job.1.20260101T000000Z.0.1.%d.1", i)), Agent: "S1", Executor: spec,
			Resources: jobs.Resources{CPUs: 0.1, Mem: 32}, Data: make([]byte, 600), Labels: map[string]string{"job": "j", "run": "r"},
		}
	}
	eachCodec(b, func(b *testing.B, codec Codec) {
		offer := []mesos.Offer{offerWith("O1", resource(cpus, 100), resource(mem, 1e5), portsOf(31000, 31999))}
		book := newBook()
		book.add(offer)
		for b.Loop() {
			call, _, err := encodeCall(scheduler.Accept{Offers: []string{"O1"}, Launches: launches}, book)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := codec.encode(call); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*tasks), "ns/launch")
	})
}

// BenchmarkAcknowledge makes calls over loopback; the server's share is in it.
func BenchmarkAcknowledge(b *testing.B) {
	eachCodec(b, func(b *testing.B, codec Codec) {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body) //nolint:errcheck // the client sends all of it
			w.WriteHeader(http.StatusAccepted)
		}))
		defer srv.Close()
		s := NewScheduler(Options{})
		to := &endpoint{codec: codec, stream: "s"}
		to.url, _ = baseURL(srv.Listener.Addr().String(), schedulerPath, false)
		sub := &subscription{to: to, acks: s.acks, book: newBook(), life: b.Context(), framework: make(chan struct{}), id: &mesos.FrameworkID{Value: "F"}}
		close(sub.framework)
		ack := scheduler.Acknowledge{Task: "job.1.20260101T000000Z.0.1.7.1", Agent: "S1", UUID: make([]byte, 16)}
		var group sync.WaitGroup
		work := make(chan struct{}, ackConns)
		for range ackConns {
			group.Go(func() {
				for range work {
					if err := sub.Send(b.Context(), ack); err != nil {
						b.Error(err)
					}
				}
			})
		}
		for b.Loop() {
			work <- struct{}{}
		}
		close(work)
		group.Wait()
	})
}
