package api

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tidemill/internal/jobfile"
	"tidemill/internal/rest"
	"tidemill/jobs"
)

// JobPath names a job. Like the other parts of inputs it is exported because
// the library looks into no other embedded structs.
type JobPath struct {
	Name string `path:"name" maxLength:"100" doc:"The job's name."`
}

// jobScale is a service and how many instances it is to have.
type jobScale struct {
	JobPath
	Body rest.ScaleBody
}

// JobDocuments is a body that jobfile decodes.
type JobDocuments struct {
	ContentType string `header:"Content-Type" doc:"application/json or application/yaml."`
	RawBody     []byte
}

type jobReplacement struct {
	JobPath
	JobDocuments
}

type jobQuery struct {
	Search string `query:"search" maxLength:"200" doc:"Text to find in name, owner, description and spec, in any case."`
	Kind   string `query:"kind" maxLength:"100"`
	Page
}

// Page is the part of a list that is asked for.
type Page struct {
	Limit  int `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Offset int `query:"offset" minimum:"0" default:"0"`
}

// deletePath is a job to delete, and what becomes of its children.
type deletePath struct {
	JobPath
	Children string `query:"children" enum:"refuse,cascade,reparent" default:"refuse" doc:"What becomes of the jobs that come after it."`
}

func (s *Server) jobOperations(api huma.API) {
	register(api, http.MethodPost, "/v1/jobs", "applyJobs", "Create or replace jobs, all of them or none.", s.applyJobs)
	register(api, http.MethodPut, "/v1/jobs/{name}", "putJob", "Create or replace one job.", s.putJob)
	register(api, http.MethodGet, "/v1/jobs", "listJobs", "List jobs by name.", s.listJobs)
	register(api, http.MethodGet, "/v1/jobs/{name}", "showJob", "Show a job and its state.",
		func(ctx context.Context, in *JobPath) (*body[jobs.JobView], error) {
			return bodyOf(s.Scheduler.Job(ctx, jobs.Name(in.Name)))
		})
	register(api, http.MethodDelete, "/v1/jobs/{name}", "deleteJob", "Delete a job; its runs are killed.",
		func(ctx context.Context, in *deletePath) (*struct{}, error) {
			return nil, s.Scheduler.Delete(ctx, jobs.Name(in.Name), jobs.DeleteMode(in.Children))
		})
	for verb, paused := range map[string]bool{"pause": true, "resume": false} {
		register(api, http.MethodPost, "/v1/jobs/{name}/"+verb, verb+"Job",
			strings.ToUpper(verb[:1])+verb[1:]+" a job; a paused service has no instances.",
			func(ctx context.Context, in *JobPath) (*body[jobs.Job], error) {
				return bodyOf(s.Scheduler.SetPaused(ctx, jobs.Name(in.Name), paused))
			})
	}
	register(api, http.MethodPost, "/v1/jobs/{name}/scale", "scaleJob", "Set how many instances a service has.",
		func(ctx context.Context, in *jobScale) (*body[jobs.Job], error) {
			return bodyOf(s.Scheduler.Scale(ctx, jobs.Name(in.Name), in.Body.Instances))
		})
	register(api, http.MethodGet, "/v1/jobs/{name}/endpoints", "listEndpoints", "Say where a service's instances listen.",
		func(ctx context.Context, in *JobPath) (*body[rest.Endpoints], error) {
			view, err := s.Scheduler.Job(ctx, jobs.Name(in.Name))
			if err == nil && view.Instances == nil && view.Resources.Ports == 0 {
				err = &jobs.Error{
					Code: jobs.Invalid, Op: "list endpoints", Subject: "job " + in.Name, Message: "it is no service, and its tasks have no ports",
					Hint: "kind service keeps instances running; resources.ports gives a task ports",
				}
			}
			return bodyOf(rest.Endpoints{Endpoints: append([]jobs.Endpoint{}, view.Endpoints...)}, err)
		})
	describeDocuments(api)
}

// describeDocuments says in the OpenAPI what the bodies hold that the
// handlers decode themselves, so as to find every error at once.
func describeDocuments(api huma.API) {
	job := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[jobs.Job](), true, "")
	several := &huma.Schema{OneOf: []*huma.Schema{job, {Type: huma.TypeArray, Items: job}}}
	for path, schema := range map[string]*huma.Schema{"/v1/jobs": several, "/v1/jobs/{name}": job} {
		item := api.OpenAPI().Paths[path]
		for _, op := range []*huma.Operation{item.Post, item.Put} {
			if op != nil {
				op.RequestBody.Content = map[string]*huma.MediaType{rest.JSON: {Schema: schema}, rest.YAML: {Schema: schema}}
			}
		}
	}
}

func (s *Server) applyJobs(ctx context.Context, in *JobDocuments) (*body[rest.Applied], error) {
	docs, errs, err := in.decode()
	if err != nil {
		return nil, err
	}
	list, err := s.check(docs, errs)
	if err != nil {
		return nil, err
	}
	applied, err := s.Scheduler.Apply(ctx, list)
	return bodyOf(rest.Applied{Jobs: applied}, wrong(docs, err))
}

func (s *Server) putJob(ctx context.Context, in *jobReplacement) (*body[jobs.AppliedJob], error) {
	docs, errs, err := in.decode()
	switch {
	case err != nil:
		return nil, err
	case len(docs) > 1:
		return nil, rest.NewProblem(http.StatusBadRequest, "the body holds more than one job", "several jobs go to POST /v1/jobs")
	case len(docs) == 1 && docs[0].Job.Name == "":
		docs[0].Job.Name = jobs.Name(in.Name)
	case len(docs) == 1 && docs[0].Job.Name != jobs.Name(in.Name):
		errs = append(errs, docs[0].Locate(jobs.FieldError{Field: "name",
			Message: fmt.Sprintf("is %q, but the path says %q", docs[0].Job.Name, in.Name)})...)
	}
	list, err := s.check(docs, errs)
	if err != nil {
		return nil, err
	}
	applied, err := s.Scheduler.Apply(ctx, list)
	if err != nil {
		return nil, wrong(docs, err)
	}
	if len(applied) != 1 {
		return nil, fmt.Errorf("apply job %s: the scheduler answered with %d jobs", in.Name, len(applied))
	}
	return &body[jobs.AppliedJob]{Body: applied[0]}, nil
}

func (in *JobDocuments) decode() ([]jobfile.Document, jobfile.Errors, error) {
	media, _, err := mime.ParseMediaType(in.ContentType)
	name := "body"
	switch {
	case in.ContentType == "":
	case err == nil && (media == rest.JSON || strings.HasSuffix(media, "+json")):
		name = "body.json"
	case err == nil && (media == rest.YAML || media == "application/x-yaml" || media == "text/yaml" || strings.HasSuffix(media, "+yaml")):
		name = "body.yaml"
	default:
		return nil, nil, rest.NewProblem(http.StatusUnsupportedMediaType, fmt.Sprintf("a job cannot be read from %q", in.ContentType),
			"send it as application/json or application/yaml")
	}
	docs, errs := jobfile.Decode(jobfile.Source{Name: name, Data: in.RawBody})
	return docs, errs, nil
}

// check gives the jobs, or everything that is wrong with them. What only the
// scheduler sets is dropped, so that what was shown can be sent back.
func (s *Server) check(docs []jobfile.Document, errs jobfile.Errors) ([]jobs.Job, error) {
	for i := range docs {
		j := &docs[i].Job
		j.Version, j.Incarnation, j.Created, j.Updated = 0, 0, time.Time{}, time.Time{}
	}
	list, errs := jobfile.Check(docs, errs, s.Kinds)
	if len(errs) > 0 {
		return nil, invalid(docs, errs)
	}
	return list, nil
}

// wrong says where in the body the findings of the scheduler are.
func wrong(docs []jobfile.Document, err error) error {
	var found jobfile.Errors
	if located := jobfile.LocateListed(docs, err); errors.As(located, &found) {
		return invalid(docs, found)
	}
	return err
}

// invalid is everything that is wrong with documents. Where there are
// several, each field begins with the document's place, like "[1].after[0]".
func invalid(docs []jobfile.Document, errs jobfile.Errors) *rest.Problem {
	found := errs.Fields()
	if len(docs) > 1 {
		found = nil
		for _, e := range errs {
			found.AddAll(fmt.Sprintf("[%d]", e.Index), e.FieldError)
		}
	}
	p := rest.NewProblem(http.StatusBadRequest, "the document cannot be applied", "nothing was changed")
	p.Errors = found
	return p
}

func (s *Server) listJobs(ctx context.Context, in *jobQuery) (*body[rest.JobPage], error) {
	list, total, err := s.Scheduler.Jobs(ctx, jobs.JobQuery{Search: in.Search, Kind: in.Kind, Limit: in.Limit, Offset: in.Offset})
	return bodyOf(rest.JobPage{Jobs: append([]jobs.JobView{}, list...), Total: total}, err)
}

// register adds one operation, with what all of them share.
func register[I, O any](api huma.API, method, path, id, summary string, do func(context.Context, *I) (*O, error)) {
	huma.Register(api, operation(method, path, id, summary), answer(do))
}

func operation(method, path, id, summary string) huma.Operation {
	op := huma.Operation{OperationID: id, Method: method, Path: path, Summary: summary,
		MaxBodyBytes: rest.MaxJobsBody, BodyReadTimeout: readTimeout,
		Tags: []string{strings.Split(path, "/")[2]}}
	if method == http.MethodDelete {
		op.DefaultStatus = http.StatusNoContent
	}
	return op
}
