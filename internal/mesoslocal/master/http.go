package master

import (
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"

	"tidemill/internal/mesoslocal/wire"
)

// operatorRealm is what operators authenticate for.
const operatorRealm = "mesos-master-readwrite"

// routes are served with and without the prefix /master, as by Mesos.
func (m *Master) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(path string, handler http.HandlerFunc) {
		mux.HandleFunc(path, handler)
		mux.HandleFunc("/master"+path, handler)
	}
	leading := func(path string, handler http.HandlerFunc) { handle(path, m.whenLeading(path, handler)) }
	leading("/api/v1/scheduler", m.whenSettled(m.authenticated("mesos-master-scheduler", m.serveScheduler)))
	leading("/api/v1/scheduler/", m.whenSettled(m.authenticated("mesos-master-scheduler", m.serveScheduler)))
	leading("/api/v1", m.whenSettled(m.authenticated(operatorRealm, m.serveOperator)))
	leading("/state", m.serveState)
	leading("/state-summary", m.serveState)
	leading("/frameworks", m.serveFrameworks)
	leading("/slaves", m.serveAgents)
	leading("/tasks", m.serveTasks)
	leading("/roles", m.serveRoles)
	leading("/teardown", m.serveTeardown)
	leading("/maintenance/schedule", m.authenticated(operatorRealm, m.serveMaintenanceSchedule))
	leading("/maintenance/status", m.authenticated(operatorRealm, m.serveMaintenanceStatus))
	leading("/machine/down", m.authenticated(operatorRealm, m.serveMachines(m.takeDown)))
	leading("/machine/up", m.authenticated(operatorRealm, m.serveMachines(m.bringUp)))
	handle("/redirect", m.serveRedirect)
	handle("/health", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	handle("/version", m.serveVersion)
	handle("/flags", m.serveFlags)
	mux.HandleFunc("/metrics/snapshot", m.serveMetrics)
	mux.HandleFunc(wire.LinkPath, m.serveAgentLink)
	mux.HandleFunc("/{$}", m.serveRoot)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		wire.Text(w, http.StatusNotFound, "404 Not Found.")
	})
	return mux
}

// whenLeading answers 307 to the leader, or 503 while nobody leads, before it looks at
// anything of the request.
func (m *Master) whenLeading(path string, handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		leading, leader := m.leading, m.leader
		m.mu.Unlock()
		switch {
		case leading:
			handler(w, r)
		case leader == "":
			wire.Text(w, http.StatusServiceUnavailable, "No leader elected")
		default:
			location := "//" + leader + "/master" + strings.TrimPrefix(r.URL.Path, "/master")
			if r.URL.RawQuery != "" {
				location += "?" + r.URL.RawQuery
			}
			w.Header().Set("Location", location)
			w.WriteHeader(http.StatusTemporaryRedirect)
		}
	}
}

// whenSettled answers 503 while the leader waits for its quorum.
func (m *Master) whenSettled(handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		settled := m.settled
		m.mu.Unlock()
		if !settled {
			wire.Text(w, http.StatusServiceUnavailable, "Master has not finished recovery")
			return
		}
		handler(w, r)
	}
}

// principalOf returns who the request authenticates as; ok is false where it must be
// refused.
func (m *Master) principalOf(r *http.Request) (principal string, ok bool) {
	if len(m.opts.Credentials) == 0 {
		return "", true
	}
	name, secret, given := r.BasicAuth()
	want, known := m.opts.Credentials[name]
	if !given || !known || subtle.ConstantTimeCompare([]byte(secret), []byte(want)) != 1 {
		return "", false
	}
	return name, true
}

func (m *Master) authenticated(realm string, handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if _, ok := m.principalOf(r); !ok {
			w.Header().Set("WWW-Authenticate", `Basic realm="`+realm+`"`)
			wire.Text(w, http.StatusUnauthorized, "401 Unauthorized.")
			return
		}
		handler(w, r)
	}
}

func (m *Master) serveRedirect(w http.ResponseWriter, _ *http.Request) {
	m.mu.Lock()
	leader := m.leader
	m.mu.Unlock()
	if leader == "" {
		wire.Text(w, http.StatusServiceUnavailable, "No leader elected")
		return
	}
	w.Header().Set("Location", "//"+leader)
	w.WriteHeader(http.StatusTemporaryRedirect)
}

// serveRoot is where Mesos has its web UI.
func (m *Master) serveRoot(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	fmt.Fprint(w, `<!DOCTYPE html><title>Local Mesos</title><a href="/state">state</a>`)
}

func (m *Master) serveTeardown(w http.ResponseWriter, r *http.Request) {
	if !wire.RequireMethod(w, r, http.MethodPost) {
		return
	}
	id := r.PostFormValue("frameworkId")
	m.mu.Lock()
	defer m.mu.Unlock()
	framework, ok := m.frameworks[id]
	if !ok {
		wire.Text(w, http.StatusBadRequest, "No framework found with specified ID")
		return
	}
	m.removeFramework(framework)
	w.WriteHeader(http.StatusOK)
}
