package ingest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"tidemill/jobs/event"
)

// Bounds of the door.
const (
	maxRequests = 128 // at once: their bodies are held in memory
	comeBack    = time.Second
	fullAbove   = 0.9 // of the buffer: not ready
)

// producer is what the door needs of a Kafka client.
type producer interface {
	TryProduce(ctx context.Context, r *kgo.Record, promise func(*kgo.Record, error))
	BufferedProduceRecords() int64
	BufferedProduceBytes() int64
}

// door is the HTTP side: POST /v1/events, /healthz, /readyz and /metrics.
type door struct {
	// life is the context of the records: a request's own would, when it
	// ended, fail all records buffered for the same partition.
	life     context.Context
	producer producer
	topic    string
	limits   HTTP
	rules    event.Rules
	now      func() time.Time
	log      zerolog.Logger

	draining atomic.Bool
	accepted atomic.Int64
	slots    chan struct{}
	metrics  metrics
}

func newDoor(life context.Context, p producer, s Spec, log zerolog.Logger) *door {
	d := &door{
		life: life, producer: p, topic: s.Topic, limits: *s.HTTP, rules: s.rules(), now: time.Now, log: log,
		slots: make(chan struct{}, maxRequests),
	}
	d.metrics = newMetrics(p)
	return d
}

func (d *door) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/events", d.post)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { d.say(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", d.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(d.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/v1/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", http.MethodPost)
		d.refuse(w, &problem{Status: http.StatusMethodNotAllowed, Detail: r.Method + " is not possible at /v1/events: POST the events"})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		d.refuse(w, &problem{Status: http.StatusNotFound, Detail: fmt.Sprintf("nothing is at %q: POST events to /v1/events", r.URL.Path)})
	})
	return mux
}

func (d *door) refuse(w http.ResponseWriter, p *problem) {
	if err := p.write(w); err != nil {
		d.log.Debug().Err(err).Msg("cannot answer")
	}
}

func (d *door) say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	if _, err := fmt.Fprintln(w, text); err != nil {
		d.log.Debug().Err(err).Msg("cannot answer")
	}
}

// ready tells balancers whether to send requests here.
func (d *door) ready(w http.ResponseWriter, _ *http.Request) {
	full := max(float64(d.producer.BufferedProduceRecords())/float64(d.limits.Buffer),
		float64(d.producer.BufferedProduceBytes())/float64(d.limits.BufferBytes))
	switch {
	case d.draining.Load():
		d.say(w, http.StatusServiceUnavailable, "draining")
	case full > fullAbove:
		d.say(w, http.StatusServiceUnavailable, fmt.Sprintf("the buffer is %.0f %% full: kafka does not keep up", 100*full))
	default:
		d.say(w, http.StatusOK, "ready")
	}
}

func (d *door) post(w http.ResponseWriter, r *http.Request) {
	began := d.now()
	id := requestID(r)
	w.Header().Set("X-Request-Id", id)
	n, p := d.take(w, r)
	var err error
	status := http.StatusAccepted
	if p != nil {
		status = p.Status
		err = p.write(w)
	} else {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		err = json.NewEncoder(w).Encode(map[string]int{"accepted": n})
		d.accepted.Add(int64(n))
	}
	if err != nil {
		d.log.Debug().Err(err).Str("request_id", id).Msg("cannot answer")
	}
	d.metrics.observe(status, n, d.now().Sub(began))
}

// requestID is the client's, if it is short enough to be carried, or a new one.
func requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); id != "" && len(id) <= 128 {
		return id
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// take accepts all events of a request, or none: it returns their number once
// Kafka has acknowledged every one.
func (d *door) take(w http.ResponseWriter, r *http.Request) (int, *problem) {
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	default:
		return 0, busy("too many requests at once")
	}
	if d.draining.Load() {
		return 0, &problem{Status: http.StatusServiceUnavailable, Detail: "this instance is ending; post again, to another one", retryAfter: comeBack}
	}
	events, p := d.read(w, r)
	if p != nil {
		return 0, p
	}
	if d.producer.BufferedProduceRecords()+int64(len(events)) > int64(d.limits.Buffer) {
		return 0, busy("the buffer is full: kafka does not keep up")
	}
	return len(events), d.produce(r.Context(), events)
}

func busy(detail string) *problem {
	return &problem{Status: http.StatusTooManyRequests, Detail: detail + "; post again later", retryAfter: comeBack}
}

// answer is Kafka's word on one event.
type answer struct {
	index int
	err   error
}

func (d *door) produce(request context.Context, events []posted) *problem {
	// Room for every answer: those that come after the deadline block nobody.
	answers := make(chan answer, len(events))
	for i, e := range events {
		record := &kgo.Record{Topic: d.topic, Key: []byte(e.event.ID.String()), Value: e.doc}
		d.producer.TryProduce(d.life, record, func(_ *kgo.Record, err error) { answers <- answer{i, err} })
	}
	deadline := time.NewTimer(d.limits.AckTimeout.D())
	defer deadline.Stop()
	open := make([]bool, len(events))
	for i := range open {
		open[i] = true
	}
	var failed error
	for range events {
		select {
		case a := <-answers:
			if a.err == nil {
				open[a.index] = false
			} else {
				failed = worse(failed, a.err)
			}
			continue
		case <-deadline.C:
			failed = worse(failed, errors.New("kafka did not acknowledge in time"))
		case <-request.Done():
			failed = worse(failed, context.Cause(request))
		}
		break
	}
	if failed == nil {
		return nil
	}
	return d.refusal(failed, open)
}

// worse keeps the error that says more: anything but a full buffer.
func worse(a, b error) error {
	if a == nil || errors.Is(a, kgo.ErrMaxBuffered) {
		return b
	}
	return a
}

func (d *door) refusal(failed error, open []bool) *problem {
	if errors.Is(failed, kgo.ErrMaxBuffered) {
		return busy("the buffer is full: kafka does not keep up")
	}
	p := &problem{Status: http.StatusServiceUnavailable, Detail: failed.Error() + "; post all again: it is safe", retryAfter: comeBack}
	if errors.Is(failed, kerr.UnknownTopicOrPartition) {
		p.Detail = fmt.Sprintf("topic %s does not exist; make it by: tidemill schema apply --topic %s", d.topic, d.topic)
	}
	for i, isOpen := range open {
		if isOpen {
			p.Unacknowledged = append(p.Unacknowledged, i)
		}
	}
	p.Unacknowledged = slices.Clip(p.Unacknowledged)
	d.log.Warn().Err(failed).Int("events", len(p.Unacknowledged)).Msg("events were not acknowledged")
	return p
}

// metrics are the door's, on a registry of its own.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	events   prometheus.Counter
	seconds  prometheus.Histogram
}

func newMetrics(p producer) metrics {
	m := metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tidemill_ingest_requests_total", Help: "Requests answered, by status code."}, []string{"code"}),
		events: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tidemill_ingest_events_total", Help: "Events acknowledged to clients."}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tidemill_ingest_request_seconds", Help: "Time from a request to its answer.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 12)}),
	}
	m.registry.MustRegister(m.requests, m.events, m.seconds,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "tidemill_ingest_buffered_events", Help: "Events that wait for Kafka's acknowledgement."},
			func() float64 { return float64(p.BufferedProduceRecords()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "tidemill_ingest_buffered_bytes", Help: "Bytes that wait for Kafka's acknowledgement."},
			func() float64 { return float64(p.BufferedProduceBytes()) }))
	return m
}

func (m metrics) observe(status, events int, took time.Duration) {
	m.requests.WithLabelValues(fmt.Sprint(status)).Inc()
	if status == http.StatusAccepted {
		m.events.Add(float64(events))
	}
	m.seconds.Observe(took.Seconds())
}
