package chronos

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/rs/zerolog"

	"tidemill/internal/rest"
	"tidemill/jobs"
)

// Scheduler is what the door opens on.
type Scheduler interface {
	declarations
	runs
	Status(ctx context.Context) (jobs.Status, error)
}

type declarations interface {
	Apply(ctx context.Context, list []jobs.Job) ([]jobs.AppliedJob, error)
	Delete(ctx context.Context, name jobs.Name, mode jobs.DeleteMode) error
	Job(ctx context.Context, name jobs.Name) (jobs.JobView, error)
	Jobs(ctx context.Context, q jobs.JobQuery) ([]jobs.JobView, int, error)
}

type runs interface {
	StartRun(ctx context.Context, r jobs.RunRequest) (jobs.Run, error)
	Runs(ctx context.Context, q jobs.RunQuery) (jobs.RunPage, error)
	RunView(ctx context.Context, id jobs.RunID) (jobs.RunView, error)
	KillRuns(ctx context.Context, name jobs.Name, reason string) (int, error)
	MarkRun(ctx context.Context, id jobs.RunID, success bool) (jobs.Run, error)
}

// Options is what a door needs.
type Options struct {
	Scheduler Scheduler
	Kinds     *jobs.Registry
	// User is whom tasks run as.
	User string
	Log  zerolog.Logger
}

// Server answers as Chronos did.
type Server struct {
	Options
	elements elements
}

// New makes the door.
func New(o Options) *Server { return &Server{Options: o} }

// answerTimeout bounds one request, like those of Tidemill's own API.
const answerTimeout = 20 * time.Second

// Mount adds the routes: those of both of Chronos's base paths, behind led,
// which hands on what is not ours to answer, and the health check.
func (s *Server) Mount(r chi.Router, led func(http.Handler) http.Handler) {
	r.With(open).Get("/ping", func(w http.ResponseWriter, _ *http.Request) { write(w, rest.Text, "pong") })
	r.With(open, led).Get("/leader", s.handle(s.leader))
	for _, base := range bases() {
		r.Route(base, func(r chi.Router) {
			r.Use(open, led)
			s.routes(r)
		})
	}
}

func bases() []string { return []string{"/v1/scheduler", "/scheduler"} } // 3.x and 2.x

// Answers says whether clients of Chronos ask for a path, so that its failures
// are to be told in Chronos's form, whoever tells them.
func Answers(path string) bool {
	return slices.ContainsFunc(bases(), func(base string) bool { return strings.HasPrefix(path, base+"/") })
}

func (s *Server) routes(r chi.Router) {
	for path, apply := range map[string]answerer{"/iso8601": s.applyScheduled, "/dependency": s.applyDependent} {
		r.Post(path, s.handle(apply))
		r.Put(path, s.handle(apply)) // 2.x
	}
	r.Get("/jobs", s.handle(s.list))
	r.Get("/jobs/summary", s.handle(s.summary))
	r.Get("/jobs/search", s.handle(s.search))
	r.Get("/job/{name}", s.handle(s.show))
	r.Put("/job/{name}", s.handle(s.run))
	r.Delete("/job/{name}", s.handle(s.delete))
	r.Put("/job/success/{name}", s.handle(s.markSuccess))
	r.Get("/job/stat/{name}", s.handle(s.jobStat))
	r.Post("/job/{name}/task/{task}/progress", s.handle(s.progress))
	r.Delete("/task/kill/{name}", s.handle(s.kill))
	r.Delete("/task/all", s.handle(s.killAll)) // 2.x
	r.Put("/task/{task}", s.handle(s.endTask)) // 2.x
	r.Get("/stats/{statistic}", s.handle(s.stats))
	r.Get("/graph/dot", s.handle(s.dot))
	r.Get("/graph/csv", s.handle(s.csv))
	r.Get("/leader", s.handle(s.leader))
}

// open lets pages of other sites read the answers, as Chronos did. Their
// requests that change something are refused before they come here.
func open(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		next.ServeHTTP(w, r)
	})
}

// text is an answer that is not JSON.
type text string

// answerer gives what to answer: nil is 204.
type answerer func(ctx context.Context, r *http.Request) (any, error)

func (s *Server) handle(do answerer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, rest.MaxJobsBody)
		v, err := do(ctx, r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		switch v := v.(type) {
		case nil:
			w.WriteHeader(http.StatusNoContent)
		case text:
			write(w, rest.Text, string(v))
		default:
			write(w, rest.JSON, document(v)) // in one line: chronos-sync.rb reads no further
		}
	}
}

// failure is the body of every error.
type failure struct {
	Message string `json:"message"`
	Status  string `json:"status"`
}

// fail answers 400 for all that the caller got wrong, an unknown job and a
// state that refuses included, and 500 for the rest.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusInternalServerError
	var tooLarge *http.MaxBytesError
	switch code, _ := jobs.CodeOf(err); {
	case code != "" && code != jobs.Unavailable, errors.As(err, &tooLarge):
		status = http.StatusBadRequest
	default:
		s.Log.Warn().Err(err).Str("method", r.Method).Str("path", r.URL.Path).Msg("request of Chronos's API failed")
	}
	Fail(w, status, inChronosWords(err).Error())
}

// Fail answers as Chronos does where something failed. What is no client's
// fault is 500: Chronos knew no other.
func Fail(w http.ResponseWriter, status int, message string) {
	status = min(status, http.StatusInternalServerError)
	w.Header().Set("Content-Type", rest.JSON)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, document(failure{Message: message, Status: http.StatusText(status)})) // the caller may be gone
}

// inChronosWords calls the fields that are at fault as the caller did.
func inChronosWords(err error) error {
	var found jobs.FieldErrors
	if !errors.As(err, &found) {
		return err
	}
	names := strings.NewReplacer("schedule.repeat", "schedule", "schedule.zone", "scheduleTimeZone", "after", "parents",
		"spec.command", "command", "spec.argv", "arguments", "spec.env", "environmentVariables", "retry.attempts", "retries",
		"placement.constraints", "constraints", "max_run_time", "maxCompletionTime", "resources.", "",
		"spec.container", containerField, "].host", "].hostPath", "].container", "].containerPath")
	out := make(jobs.FieldErrors, len(found))
	for i, f := range found {
		f.Field = names.Replace(f.Field)
		out[i] = f
	}
	return out
}

func write(w http.ResponseWriter, media, body string) {
	w.Header().Set("Content-Type", media)
	_, _ = io.WriteString(w, body) // the caller may be gone
}

// find gives a job, if it is one of those that Chronos's clients know.
func (s *Server) find(ctx context.Context, r *http.Request) (jobs.JobView, error) {
	name := chi.URLParam(r, "name")
	v, err := s.Scheduler.Job(ctx, jobs.Name(name))
	if code, _ := jobs.CodeOf(err); code == jobs.NotFound { // clients look for these words
		return v, &jobs.Error{Code: jobs.NotFound, Op: "find", Subject: "job " + name, Message: "not found"}
	}
	if err == nil && v.Kind != Kind {
		return v, otherKind(v.Job)
	}
	return v, err
}

func otherKind(j jobs.Job) error {
	return &jobs.Error{Code: jobs.Invalid, Op: "find", Subject: "job " + string(j.Name),
		Message: "it is of the kind " + j.Kind + ", and Chronos's API knows " + Kind + "s only", Hint: "use /v1/jobs/" + string(j.Name)}
}

// maxJobs and maxRuns bound what one answer is made of.
const (
	maxJobs = 100_000
	maxRuns = 20_000
)

// all gives the jobs that hold a text, by name.
func (s *Server) all(ctx context.Context, holding string) ([]jobs.JobView, error) {
	list, _, err := s.Scheduler.Jobs(ctx, jobs.JobQuery{Kind: Kind, Search: holding, Limit: maxJobs})
	return list, err
}

func count(r *http.Request, name string, standard int) (int, error) {
	value := r.URL.Query().Get(name)
	if value == "" {
		return standard, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 {
		return 0, invalid(name, "%q is no count", value)
	}
	return n, nil
}

// read decodes a request's body.
func read(r *http.Request, v any) error {
	if err := json.NewDecoder(r.Body).Decode(v); err != nil {
		return invalid("", "the body is not the JSON that belongs there: %v", err)
	}
	return nil
}

func (s *Server) leader(ctx context.Context, _ *http.Request) (any, error) {
	st, err := s.Scheduler.Status(ctx)
	if err != nil {
		return nil, err
	}
	_, host, found := strings.Cut(st.Leader, "://")
	if !found {
		host = st.Leader
	}
	return map[string]string{"leader": strings.TrimSuffix(host, "/")}, nil
}
