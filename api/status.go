package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"tidemill/internal/rest"
	"tidemill/jobs"
)

// heartbeat keeps an event stream's way open, and finds out that its reader is gone.
const heartbeat = 15 * time.Second

type agentPath struct {
	ID string `path:"id" maxLength:"200" doc:"The agent's id, as Mesos gave it."`
}

func (s *Server) statusOperations(api huma.API) {
	register(api, http.MethodGet, "/v1/status", "showStatus", "Show who leads, the master, and what needs attention.",
		func(ctx context.Context, _ *struct{}) (*body[jobs.Status], error) {
			return bodyOf(s.Scheduler.Status(ctx))
		})
	state := operation(http.MethodGet, "/v1/state", "exportState", "Write all that is stored, as it is at one instant.")
	state.Responses = map[string]*huma.Response{"200": {
		Description: "A line of JSON each: a head, then the records by key, without what signs tokens.",
		Content:     map[string]*huma.MediaType{rest.Lines: {Schema: &huma.Schema{Type: huma.TypeString}}},
	}}
	huma.Register(api, state, s.exportState)
	register(api, http.MethodGet, "/v1/agents", "listAgents", "List the agents that have offered something: how much, and which are avoided and why.",
		func(ctx context.Context, _ *struct{}) (*body[[]jobs.AgentView], error) {
			return bodyOf(s.Scheduler.Agents(ctx))
		})
	register(api, http.MethodPost, "/v1/agents/{id}/release", "releaseAgent", "Let tasks be placed again on an agent that is avoided.",
		func(ctx context.Context, in *agentPath) (*body[jobs.AgentView], error) {
			return bodyOf(s.Scheduler.ReleaseAgent(ctx, in.ID))
		})
	events := operation(http.MethodGet, "/v1/events", "watch", "Stream what changes, as server-sent events.")
	events.Responses = map[string]*huma.Response{"200": {
		Description: "One event a change; its data is a Notice.",
		Content: map[string]*huma.MediaType{rest.EventStream: {
			Schema: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[jobs.Notice](), true, ""),
		}},
	}}
	huma.Register(api, events, s.watch)
}

func (s *Server) exportState(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
	reading, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	state, err := s.Scheduler.State(reading)
	if err != nil {
		return nil, rest.FromError(err)
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		hc.SetHeader("Content-Type", rest.Lines)
		hc.SetStatus(http.StatusOK)
		_, _ = state.WriteTo(hc.BodyWriter()) // the caller may be gone, and counts the lines
	}}, nil
}

func (s *Server) watch(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
	if err := s.admit(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	notices, err := s.Scheduler.Watch(ctx)
	if err != nil {
		cancel()
		s.dismiss()
		return nil, rest.FromError(err)
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer cancel()
		hc.SetHeader("Content-Type", rest.EventStream)
		hc.SetHeader("Cache-Control", "no-store")
		hc.SetStatus(http.StatusOK)
		s.sendNotices(hc, notices)
	}}, nil
}

// sendNotices writes events until the channel closes (the reader was too
// slow, or the scheduler stopped leading) or the reader goes.
func (s *Server) sendNotices(hc huma.Context, notices <-chan jobs.Notice) {
	out := s.stream(hc)
	defer out.close()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	alive := out.write([]byte("retry: 1000\n\n"))
	for alive {
		select {
		case n, ok := <-notices:
			if !ok {
				return
			}
			data, err := json.Marshal(n)
			if err != nil {
				s.Log.Error().Err(err).Msg("notice cannot be written")
				return
			}
			alive = out.write(fmt.Appendf(nil, "id: %d\nevent: %s\ndata: %s\n\n", n.Sequence, n.Type, data))
		case <-beat.C:
			alive = out.write([]byte(":\n\n"))
		case <-out.ended():
			return
		}
	}
}

// stream is an answer without end, written part by part.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	context.Context
	close func()
}

// maxStreams bounds the readers without end: each costs a connection, and a
// followed log a read through its agent, over and over.
const maxStreams = 128

// admit counts a stream in, unless there are too many; dismiss counts it out.
func (s *Server) admit() error {
	if s.streams.Add(1) > maxStreams {
		s.streams.Add(-1)
		return rest.NewProblem(http.StatusServiceUnavailable, fmt.Sprintf("%d streams are open, and no more are served", maxStreams), "end some, or ask again later")
	}
	s.requests.streams.Inc()
	return nil
}

func (s *Server) dismiss() {
	s.streams.Add(-1)
	s.requests.streams.Dec()
}

// stream opens one that was admitted; it ends with its reader, or with the server.
func (s *Server) stream(hc huma.Context) *stream {
	_, w := humachi.Unwrap(hc)
	ctx, cancel := context.WithCancel(hc.Context())
	stop := context.AfterFunc(s.done, cancel)
	return &stream{w: w, control: http.NewResponseController(w), Context: ctx, close: func() {
		stop()
		cancel()
		s.dismiss()
	}}
}

func (s *stream) ended() <-chan struct{} { return s.Done() }

// write sends a part at once; each has its own time limit.
func (s *stream) write(part []byte) bool {
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // a writer without deadlines needs none
	if _, err := s.w.Write(part); err != nil {
		return false
	}
	return s.control.Flush() == nil
}
