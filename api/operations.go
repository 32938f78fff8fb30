package api

import (
	"context"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tidemill/internal/rest"
	"tidemill/jobs"
	"tidemill/jobs/schedule"
)

// config describes the API to the library that writes the OpenAPI.
func config(version string) huma.Config {
	c := huma.DefaultConfig("Tidemill", version)
	c.Info.Description = "Ingest, rollup and restore jobs beside Cassandra, on Apache Mesos."
	c.DocsPath, c.SchemasPath = "", "" // the library's page loads scripts from elsewhere
	c.CreateHooks = nil                // no $schema links in answers
	c.RejectUnknownQueryParameters = true
	c.Formats = map[string]huma.Format{rest.JSON: huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat}
	c.Transformers = []huma.Transformer{ownProblems}
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "Asked for where the scheduler was started with --token-file."},
	}
	c.Security = []map[string][]string{{}, {"token": {}}}
	for from, to := range map[reflect.Type]reflect.Type{
		reflect.TypeFor[jobs.Duration]():    reflect.TypeFor[durationText](),
		reflect.TypeFor[jobs.Constraint]():  reflect.TypeFor[constraintList](),
		reflect.TypeFor[schedule.Crons]():   reflect.TypeFor[cronText](),
		reflect.TypeFor[huma.ErrorModel]():  reflect.TypeFor[rest.Problem](),
		reflect.TypeFor[huma.ErrorDetail](): reflect.TypeFor[jobs.FieldError](),
	} {
		c.Components.Schemas.RegisterTypeAlias(from, to)
	}
	return c
}

// Types whose JSON is not what their Go type looks like.
type (
	durationText   struct{}
	constraintList struct{}
	cronText       struct{}
)

func (durationText) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Description: "A duration with its unit.", Examples: []any{"10s", "15m", "24h"}}
}

func (constraintList) Schema(huma.Registry) *huma.Schema {
	two, three := 2, 3
	return &huma.Schema{Type: huma.TypeArray, MinItems: &two, MaxItems: &three,
		Items:       &huma.Schema{OneOf: []*huma.Schema{{Type: huma.TypeString}, {Type: huma.TypeNumber}}},
		Description: "Field, operator (equals, like, unlike, unique, cluster, group_by, max_per) and value.", Examples: []any{[]string{"rack", "like", "r[12]"}}}
}

func (cronText) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{
		{Type: huma.TypeString}, {Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeString}},
	}, Description: "One cron expression, or a list.", Examples: []any{"10 * * * *"}}
}

// ownProblems turns what the library itself finds wrong with a request into
// the one form that all problems have.
func ownProblems(ctx huma.Context, _ string, v any) (any, error) {
	if p, ok := v.(*rest.Problem); ok {
		named := *p
		named.RequestID, _ = ctx.Context().Value(requestIDKey{}).(string)
		return &named, nil
	}
	e, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	status := e.Status
	if status == http.StatusUnprocessableEntity { // one status for all that is invalid
		status = http.StatusBadRequest
		ctx.SetStatus(status)
	}
	p := rest.NewProblem(status, e.Detail, "")
	for _, d := range e.Errors {
		p.Errors = append(p.Errors, jobs.FieldError{Field: strings.TrimPrefix(d.Location, "body."), Message: d.Message})
	}
	p.RequestID, _ = ctx.Context().Value(requestIDKey{}).(string)
	return p, nil
}

// answer bounds the time that the scheduler has for a request, and makes its
// errors problems.
func answer[I, O any](do func(context.Context, *I) (*O, error)) func(context.Context, *I) (*O, error) {
	return func(ctx context.Context, in *I) (*O, error) {
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		out, err := do(ctx, in)
		if err != nil {
			return nil, rest.FromError(err)
		}
		return out, nil
	}
}

// answerTimeout is shorter than the server's limits, so that there is an answer.
const answerTimeout = 20 * time.Second

// body is an answer of one value.
type body[T any] struct{ Body T }

func bodyOf[T any](v T, err error) (*body[T], error) {
	if err != nil {
		return nil, err
	}
	return &body[T]{Body: v}, nil
}
