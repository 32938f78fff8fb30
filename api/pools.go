package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"tidemill/internal/rest"
	"tidemill/jobs"
)

// PoolPath names a pool.
type PoolPath struct {
	Name string `path:"name" maxLength:"100" doc:"The pool's name."`
}

type poolSet struct {
	PoolPath
	Body rest.PoolBody
}

type holdBody struct{ Body rest.HoldBody }

type releaseBody struct{ Body *rest.ReleaseBody }

// limitOperations bound what is launched: pools, and the hold on everything.
func (s *Server) limitOperations(api huma.API) {
	register(api, http.MethodGet, "/v1/pools", "listPools", "List pools by name, with who holds their slots.",
		func(ctx context.Context, _ *struct{}) (*body[rest.PoolList], error) {
			list, err := s.Scheduler.Pools(ctx)
			return bodyOf(rest.PoolList{Pools: append([]jobs.PoolView{}, list...)}, err)
		})
	register(api, http.MethodPut, "/v1/pools/{name}", "setPool", "Create or change a pool.",
		func(ctx context.Context, in *poolSet) (*body[jobs.PoolView], error) {
			return bodyOf(s.Scheduler.SetPool(ctx, jobs.Pool{Name: jobs.Name(in.Name), Slots: in.Body.Slots, Description: in.Body.Description}))
		})
	register(api, http.MethodDelete, "/v1/pools/{name}", "deletePool", "Delete a pool that no job names.",
		func(ctx context.Context, in *PoolPath) (*struct{}, error) {
			return nil, s.Scheduler.DeletePool(ctx, jobs.Name(in.Name))
		})
	register(api, http.MethodPost, "/v1/framework/hold", "hold", "Launch nothing until the release; what is due waits.",
		func(ctx context.Context, in *holdBody) (*body[jobs.Hold], error) {
			return bodyOf(s.Scheduler.Hold(ctx, in.Body.Reason))
		})
	release := operation(http.MethodPost, "/v1/framework/release", "release", "Launch again.")
	release.DefaultStatus = http.StatusNoContent
	huma.Register(api, release, answer(func(ctx context.Context, in *releaseBody) (*struct{}, error) {
		reason := ""
		if in.Body != nil {
			reason = in.Body.Reason
		}
		return nil, s.Scheduler.Release(ctx, reason)
	}))
}
