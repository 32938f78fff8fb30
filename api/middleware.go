package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/prometheus/client_golang/prometheus"

	"tidemill/api/chronos"
	"tidemill/internal/rest"
)

type requestIDKey struct{}

// named gives each request an id, the caller's own where it is one.
func (s *Server) named(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(rest.RequestID)
		if !plainID(id) {
			id = rand.Text()
			r.Header.Set(rest.RequestID, id)
		}
		w.Header().Set(rest.RequestID, id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id)))
	})
}

func plainID(id string) bool {
	for _, c := range id {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '-' && c != '_' {
			return false
		}
	}
	return id != "" && len(id) <= 64
}

type requestMetrics struct {
	seconds *prometheus.HistogramVec
	streams prometheus.Gauge
}

func newRequestMetrics(reg *prometheus.Registry) (*requestMetrics, error) {
	m := &requestMetrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tidemill_api_request_seconds", Help: "Time to answer a request of the API, by route.",
			Buckets: []float64{.001, .005, .025, .1, .5, 2, 10},
		}, []string{"method", "route", "status"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tidemill_api_streams", Help: "Event streams and followed logs that are open.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.seconds, m.streams} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// measured times and logs every request; streams are timed to their end.
func (s *Server) measured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		ww := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		next.ServeHTTP(ww, r)
		route := chi.RouteContext(r.Context()).RoutePattern()
		if route == "" {
			route = "none"
		}
		status, took := ww.Status(), time.Since(began)
		if status == 0 {
			status = http.StatusOK
		}
		s.requests.seconds.WithLabelValues(r.Method, route, strconv.Itoa(status)).Observe(took.Seconds())
		event := s.Log.Debug()
		if status >= http.StatusInternalServerError && status != http.StatusServiceUnavailable {
			event = s.Log.Error()
		}
		event.Str("method", r.Method).Str("path", r.URL.Path).Int("status", status).
			Int("bytes", ww.BytesWritten()).Dur("took", took).Str("remote", r.RemoteAddr).
			Any("request_id", r.Context().Value(requestIDKey{})).Msg("request")
	})
}

// recovered turns a panic into an answer and a log line with its stack.
func (s *Server) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler || r.Context().Err() != nil { // the caller went away
				panic(http.ErrAbortHandler)
			}
			s.Log.Error().Any("panic", v).Str("path", r.URL.Path).Bytes("stack", debug.Stack()).Msg("request failed")
			writeProblem(w, r, rest.NewProblem(http.StatusInternalServerError, "the request failed in an unforeseen way",
				"the scheduler's log says more under this request's id"))
		}()
		next.ServeHTTP(w, r)
	})
}

// sameSite keeps web pages of others from using a browser that can reach us:
// no request that changes something comes from another site, and where no
// token is asked for, no name but this machine's own leads here (a name that
// its owner points at 127.0.0.1 would make their page "the same site").
func (s *Server) sameSite(next http.Handler) http.Handler {
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, r, rest.NewProblem(http.StatusForbidden, "a page of another site asked for this", "use the scheduler's own page, or the command line"))
	}))
	next = guard.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.Token == "" && !localHost(r.Host) {
			writeProblem(w, r, rest.NewProblem(http.StatusForbidden, "the host "+strconv.Quote(r.Host)+" is not this machine",
				"ask for 127.0.0.1 or localhost, or start the scheduler with --token-file"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func localHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	host = strings.Trim(host, "[]")
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// authorized asks for the bearer token where there is one. Free are the
// health checks, the page (which holds no data), the agents' binary, which
// Mesos fetches without headers, and a task's connections, which ask for the
// task's own token.
func (s *Server) authorized(next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(s.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := sha256.Sum256([]byte(tokenOf(r)))
		if s.Token != "" && !free(r) && subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			writeProblem(w, r, rest.NewProblem(http.StatusUnauthorized, "the API asks for a token",
				"send it as \"Authorization: Bearer …\"; the command line reads it with --token-file"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// tokenOf is the bearer token or, from clients that know only names and
// passwords, as Chronos's, the password.
func tokenOf(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	return bearer(r.Header.Get("Authorization"))
}

func bearer(header string) string {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

func free(r *http.Request) bool {
	switch p := r.URL.Path; {
	case p == "/" || p == "/healthz" || p == "/readyz" || p == "/ping":
		return true
	case strings.HasPrefix(p, "/page/"), strings.HasPrefix(p, artifactPrefix):
		return true
	default:
		return strings.HasPrefix(p, "/v1/tasks/") && strings.HasSuffix(p, "/connections")
	}
}

// led hands requests on to the leader, unless this is it.
func (s *Server) led(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, self, ok := s.Leader()
		switch {
		case ok && self, strings.HasPrefix(r.URL.Path, "/openapi"):
			next.ServeHTTP(w, r)
		case ok && s.forward.serve(w, r):
		case r.URL.Path == "/v1/status": // says why there is no leader
			next.ServeHTTP(w, r)
		default:
			writeProblem(w, r, noLeader())
		}
	})
}

func noLeader() *rest.Problem {
	p := rest.NewProblem(http.StatusServiceUnavailable, "no scheduler leads now", "ask again in a moment; /v1/status says more")
	p.Repeatable = true
	return p
}

// noDeadline lifts the limit on writing, for what takes as long as it takes.
// A writer that knows no deadline needs none lifted.
func noDeadline(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
}

func writeText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", rest.Text)
	_, _ = io.WriteString(w, text) // the caller may be gone
}

func writeProblem(w http.ResponseWriter, r *http.Request, p *rest.Problem) {
	p.RequestID, _ = r.Context().Value(requestIDKey{}).(string)
	maps.Copy(w.Header(), p.GetHeaders())
	if chronos.Answers(r.URL.Path) {
		chronos.Fail(w, p.Status, p.Detail+" ("+p.Hint+")")
		return
	}
	w.Header().Set("Content-Type", rest.ProblemJSON)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the caller may be gone
}
