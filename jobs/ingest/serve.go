package ingest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"tidemill/internal/kafka"
	"tidemill/jobs"
)

// serve is the work from HTTP to Kafka. It ends when ctx does: then it says
// that it is not ready, lets the requests under way end, and waits for what
// Kafka has not acknowledged.
func (w work) serve(ctx context.Context) (jobs.Result, error) {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	client, err := kafka.New(w.kafka,
		kgo.MaxBufferedRecords(w.spec.HTTP.Buffer), kgo.MaxBufferedBytes(w.spec.HTTP.BufferBytes),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		// Clients wait for the acknowledgement: under load batches form by
		// themselves while others are on their way.
		kgo.ProducerLinger(0))
	if err != nil {
		return jobs.Result{}, err
	}
	defer client.Close()
	note, err := w.findTopic(ctx, client)
	if err != nil {
		return jobs.Result{}, err
	}
	listener, err := w.listen(ctx)
	if err != nil {
		return jobs.Result{}, err
	}
	door := newDoor(life, client, w.spec, w.log)
	url := "http://" + listener.Addr().String()
	w.log.Info().Str("url", url).Str("topic", w.spec.Topic).Msg("listening" + note)
	server := &http.Server{
		Handler: door.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
	served := make(chan error, 1)
	go func() {
		defer close(served)
		served <- server.Serve(listener)
	}()
	err = w.watch(ctx, door, url+note, served)
	if stopErr := w.drain(door, server, client); err == nil {
		err = stopErr
	}
	for range served { // until the server's goroutine has ended
	}
	return jobs.Result{Values: map[string]string{"accepted": strconv.FormatInt(door.accepted.Load(), 10), "url": url}}, err
}

// findTopic fails where Kafka answers and has no such topic. Where Kafka is
// away the door opens all the same and answers 503 until it is back.
func (w work) findTopic(ctx context.Context, client *kgo.Client) (note string, err error) {
	ask, cancel := context.WithTimeout(ctx, idleAfter)
	defer cancel()
	_, err = kafka.Spans(ask, client, w.spec.Topic)
	if err == nil {
		return "", nil
	}
	if kafka.Ping(ask, client) == nil {
		return "", err
	}
	w.log.Warn().Err(err).Msg("kafka is away; clients are told to come again")
	return "; kafka is away", nil
}

// listen takes the port that the offer gave.
func (w work) listen(ctx context.Context) (net.Listener, error) {
	if len(w.assignment.Ports) == 0 {
		return nil, jobs.Permanent(errors.New("the task has no port: resources.ports must be 1"))
	}
	host := w.spec.HTTP.Bind
	if host == "" {
		host = loopbackOf(ctx, w.assignment.Host)
	}
	address := net.JoinHostPort(host, strconv.FormatUint(w.assignment.Ports[0], 10))
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for events at %s: %w", address, err)
	}
	return l, nil
}

// loopbackOf is the agent's address where that is loopback. Without http.bind
// nothing beyond this machine is let in.
func loopbackOf(ctx context.Context, host string) string {
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err == nil {
		for _, a := range addresses {
			if ip := net.ParseIP(a); ip != nil && ip.IsLoopback() {
				return a
			}
		}
	}
	return "127.0.0.1"
}

// watch reports how far the door is until ctx ends or the server fails.
func (w work) watch(ctx context.Context, d *door, note string, served <-chan error) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var before int64
	for {
		done := d.accepted.Load()
		w.runtime.Progress(jobs.Progress{Done: done, Unit: "events", Rate: float64(done - before), Note: note})
		before = done
		select {
		case <-ctx.Done():
			return nil
		case err := <-served:
			return fmt.Errorf("serve events: %w", err)
		case <-tick.C:
		}
	}
}

func (w work) drain(d *door, server *http.Server, client *kgo.Client) error {
	d.draining.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), w.grace())
	defer cancel()
	err := server.Shutdown(ctx)
	if err != nil { // the clients whose requests are cut have no 202, and post again
		err = errors.Join(err, server.Close())
	}
	if n := client.BufferedProduceRecords(); n > 0 {
		w.log.Info().Int64("events", n).Msg("waiting for kafka to acknowledge what is buffered")
	}
	if flushErr := client.Flush(ctx); flushErr != nil {
		w.log.Warn().Int64("events", client.BufferedProduceRecords()).Msg("ended with events that kafka did not acknowledge; their clients were told so")
	}
	return err
}
