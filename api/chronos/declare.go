package chronos

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"tidemill/jobs"
)

func (s *Server) applyScheduled(ctx context.Context, r *http.Request) (any, error) {
	return nil, s.apply(ctx, r, func(j Job) error {
		if len(j.Parents) > 0 {
			return invalid("parents", "a job with parents goes to POST dependency")
		}
		return nil
	})
}

func (s *Server) applyDependent(ctx context.Context, r *http.Request) (any, error) {
	return nil, s.apply(ctx, r, func(j Job) error {
		if len(j.Parents) == 0 {
			return invalid("parents", "names no job to come after")
		}
		return nil
	})
}

func (s *Server) apply(ctx context.Context, r *http.Request, belongs func(Job) error) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	c, err := Decode(body)
	if err != nil {
		return err
	}
	if err := belongs(c); err != nil {
		return err
	}
	stored, err := s.stored(ctx, jobs.Name(c.Name))
	if err != nil {
		return err
	}
	j, remarks, err := Translation{User: s.User}.Job(c, stored)
	if err != nil {
		return err
	}
	if j, _, err = s.Kinds.Check(j); err != nil {
		return err
	}
	if len(remarks) > 0 {
		s.Log.Info().Str("job", c.Name).Strs("remarks", remarks).Msg("a job came through Chronos's API with fields of no effect")
	}
	return s.patiently(ctx, func() error {
		_, err := s.Scheduler.Apply(ctx, []jobs.Job{j})
		return err
	})
}

// stored gives the job that a new declaration replaces, if there is one.
func (s *Server) stored(ctx context.Context, name jobs.Name) (*jobs.JobView, error) {
	v, err := s.Scheduler.Job(ctx, name)
	code, _ := jobs.CodeOf(err)
	switch {
	case code == jobs.NotFound:
		return nil, nil
	case err != nil:
		return nil, err
	case v.Kind != Kind:
		return nil, otherKind(v.Job)
	}
	return &v, nil
}

// The name of a deleted job is free once its last tasks have ended. Chronos's
// clients delete and create in one go, so they are given that time.
const (
	freeWithin = 10 * time.Second
	askEvery   = 100 * time.Millisecond
)

func (s *Server) patiently(ctx context.Context, apply func() error) error {
	within := time.NewTimer(freeWithin)
	defer within.Stop()
	again := time.NewTicker(askEvery)
	defer again.Stop()
	for {
		err := apply()
		if code, _ := jobs.CodeOf(err); code != jobs.Conflict {
			return err
		}
		select {
		case <-again.C:
		case <-within.C:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Server) delete(ctx context.Context, r *http.Request) (any, error) {
	v, err := s.find(ctx, r)
	if err != nil {
		return nil, err
	}
	return nil, s.Scheduler.Delete(ctx, v.Name, jobs.DeleteReparent)
}

func (s *Server) show(ctx context.Context, r *http.Request) (any, error) {
	v, err := s.find(ctx, r)
	if err != nil {
		return nil, err
	}
	return FromView(v), nil
}

func (s *Server) list(ctx context.Context, _ *http.Request) (any, error) {
	list, err := s.all(ctx, "")
	if err != nil {
		return nil, err
	}
	return views(list), nil
}

func views(list []jobs.JobView) []Job {
	out := make([]Job, len(list))
	for i, v := range list {
		out[i] = FromView(v)
	}
	return out
}

// search finds the jobs whose name and command hold what is asked for, or
// whose name or command holds "any".
func (s *Server) search(ctx context.Context, r *http.Request) (any, error) {
	limit, err := count(r, "limit", 10)
	if err != nil {
		return nil, err
	}
	offset, err := count(r, "offset", 0)
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	name, command, anywhere := strings.ToLower(q.Get("name")), strings.ToLower(q.Get("command")), strings.ToLower(q.Get("any"))
	list, err := s.all(ctx, narrowing(name, command, anywhere))
	if err != nil {
		return nil, err
	}
	found := []jobs.JobView{}
	for _, v := range list {
		itsName, itsCommand := strings.ToLower(string(v.Name)), strings.ToLower(commandOf(v.Job))
		both := strings.Contains(itsName, name) && strings.Contains(itsCommand, command)
		either := anywhere != "" && (strings.Contains(itsName, anywhere) || strings.Contains(itsCommand, anywhere))
		if either || both && (anywhere == "" || name+command != "") {
			found = append(found, v)
		}
	}
	found = found[min(offset, len(found)):]
	return views(found[:min(limit, len(found))]), nil
}

// plainText is the same in a job's stored document as in what it means.
var plainText = regexp.MustCompile(`^[a-z0-9 _.-]*$`)

// narrowing is a text that is somewhere in every job to be found, or none:
// the scheduler leaves out the others before it describes them.
func narrowing(name, command, anywhere string) string {
	text := cmp.Or(anywhere, name, command)
	if anywhere != "" && name+command != "" || !plainText.MatchString(text) {
		return ""
	}
	return text
}

func commandOf(j jobs.Job) string {
	var c commandSpec
	if json.Unmarshal(j.Spec, &c) != nil || len(c.Argv) == 0 {
		return c.Command
	}
	return c.Argv[0]
}
