package chronos

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"tidemill/jobs"
)

type summary struct {
	Jobs []summarized `json:"jobs"`
}

type summarized struct {
	Name     jobs.Name `json:"name"`
	Status   string    `json:"status"`
	State    string    `json:"state"`
	Schedule string    `json:"schedule"` // "" after parents
	Parents  []string  `json:"parents"`
	Disabled bool      `json:"disabled"`
}

func (s *Server) summary(ctx context.Context, _ *http.Request) (any, error) {
	list, err := s.all(ctx, "")
	out := summary{Jobs: make([]summarized, len(list))}
	for i, v := range list {
		out.Jobs[i] = summarized{Name: v.Name, Status: statusOf(v), State: stateOf(v),
			Schedule: scheduleOf(v), Parents: texts(v.After), Disabled: v.Paused}
	}
	return out, err
}

// statusOf says how the job went last: fresh where it never ended.
func statusOf(v jobs.JobView) string {
	switch {
	case v.LastSuccess == nil && v.LastFailure == nil:
		return "fresh"
	case v.LastSuccess == nil || v.LastFailure != nil && v.LastFailure.After(*v.LastSuccess):
		return "failure"
	}
	return "success"
}

func stateOf(v jobs.JobView) string {
	switch v.State {
	case "queued":
		return v.State
	case "running":
		return strconv.Itoa(v.Live) + " running"
	}
	return "idle"
}

// csv writes the jobs' graph for programs. Names hold no commas.
func (s *Server) csv(ctx context.Context, _ *http.Request) (any, error) {
	list, err := s.all(ctx, "")
	var b strings.Builder
	for _, v := range list {
		fmt.Fprintf(&b, "node,%s,%s,%s\n", v.Name, statusOf(v), stateOf(v))
	}
	for _, v := range list {
		for _, p := range v.After {
			fmt.Fprintf(&b, "link,%s,%s\n", p, v.Name)
		}
	}
	return text(b.String()), err
}

// dot writes it for Graphviz.
func (s *Server) dot(ctx context.Context, _ *http.Request) (any, error) {
	list, err := s.all(ctx, "")
	var b strings.Builder
	b.WriteString("digraph chronos {\n")
	for _, v := range list {
		fmt.Fprintf(&b, "  %q;\n", v.Name)
	}
	for _, v := range list {
		for _, p := range v.After {
			fmt.Fprintf(&b, "  %q -> %q;\n", p, v.Name)
		}
	}
	b.WriteString("}\n")
	return text(b.String()), err
}
