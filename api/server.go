package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"

	"tidemill/api/chronos"
	"tidemill/internal/rest"
	"tidemill/jobs"
)

// Options is what a server needs.
type Options struct {
	Scheduler Scheduler
	// Kinds validates what comes in, so that every error has its line.
	Kinds *jobs.Registry
	// Leader gives the leading scheduler's base URL, and whether it is this one.
	Leader func() (url string, self, ok bool)
	// Token is the bearer token to ask for; empty: none is asked for.
	Token string
	// Metrics holds what /metrics shows; the server adds its own.
	Metrics *prometheus.Registry
	// User is whom tasks run as.
	User string
	// Artifact is served to agents; nil: none.
	Artifact *Artifact
	Version  string
	Log      zerolog.Logger
}

// Server is the HTTP door of one scheduler.
type Server struct {
	Options
	handler  http.Handler
	forward  *forwarder
	requests *requestMetrics
	streams  atomic.Int64 // open now
	// done ends the streams when the server stops.
	done    context.Context
	endDone context.CancelFunc
}

// Time limits of a request. Streams lift the writing one.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = 60 * time.Second
	idleTimeout   = 2 * time.Minute
	stopTimeout   = 5 * time.Second
)

// New makes the server; it listens to nothing yet.
func New(o Options) (*Server, error) {
	requests, err := newRequestMetrics(o.Metrics)
	if err != nil {
		return nil, fmt.Errorf("register the API's metrics: %w", err)
	}
	s := &Server{Options: o, forward: newForwarder(o.Leader, o.Log), requests: requests}
	s.done, s.endDone = context.WithCancel(context.Background())
	s.handler = s.routes()
	return s, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Serve answers requests until ctx ends, and returns when the last one is
// answered or was given up.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    64 << 10,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve the API on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	s.endDone()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	err := server.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	<-failed
	s.forward.close()
	return err
}

func (s *Server) routes() http.Handler {
	r := chi.NewRouter()
	r.Use(s.named, s.measured, s.recovered, s.sameSite, s.authorized)
	r.Use(middleware.GetHead) // for balancers, and Mesos, which asks for an artifact's size first
	r.NotFound(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, r, rest.NewProblem(http.StatusNotFound, "nothing is at "+r.URL.Path, "the API is described at /openapi.json"))
	})
	r.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", strings.Join(allowed(r), ", "))
		writeProblem(w, r, rest.NewProblem(http.StatusMethodNotAllowed, r.Method+" is not possible at "+r.URL.Path, "the API is described at /openapi.json"))
	})
	// What every scheduler answers for itself.
	r.Get("/healthz", func(w http.ResponseWriter, _ *http.Request) { writeText(w, "ok\n") })
	r.Get("/readyz", s.ready)
	if s.Metrics != nil {
		r.Method(http.MethodGet, "/metrics", promhttp.HandlerFor(s.Metrics, promhttp.HandlerOpts{}))
	}
	r.Get(artifactPrefix+"{sum}", s.artifact)
	s.page(r)
	chronos.New(chronos.Options{Scheduler: s.Scheduler, Kinds: s.Kinds, User: s.User, Log: s.Log}).Mount(r, s.led)
	// What only the leader answers.
	r.Group(func(r chi.Router) {
		r.Use(s.led)
		s.operations(humachi.New(r, config(s.Version)))
	})
	return r
}

// allowed are the methods that the request's path answers.
func allowed(r *http.Request) []string {
	var methods []string
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		if !chi.RouteContext(r.Context()).Routes.Match(chi.NewRouteContext(), m, r.URL.Path) {
			continue
		}
		if methods = append(methods, m); m == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	return methods
}

func (s *Server) operations(api huma.API) {
	s.jobOperations(api)
	s.runOperations(api)
	s.againOperations(api)
	s.limitOperations(api)
	s.taskOperations(api)
	s.statusOperations(api)
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	url, _, ok := s.Leader()
	if !ok {
		writeProblem(w, r, noLeader())
		return
	}
	writeText(w, "ok, led by "+url+"\n")
}

func (s *Server) artifact(w http.ResponseWriter, r *http.Request) {
	if s.Artifact.serve(w, r) {
		return
	}
	if s.forward.serve(w, r) { // the leader may be of another version
		return
	}
	writeProblem(w, r, rest.NewProblem(http.StatusNotFound, "no binary of that sum is served here", "it may be of another version of Tidemill"))
}
