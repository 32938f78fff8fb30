package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tidemill/internal/rest"
	"tidemill/jobs"
)

type logQuery struct {
	ID     string `path:"id" maxLength:"400" doc:"The task's id."`
	Stream string `query:"stream" enum:"stdout,stderr" default:"stdout"`
	Offset int64  `query:"offset" minimum:"0" default:"0" doc:"In bytes, from the start of the file."`
	Limit  int    `query:"limit" minimum:"1" maximum:"1048576" default:"65536" doc:"In bytes; of each part, where the log is followed."`
	Follow bool   `query:"follow" doc:"Stream what comes until the attempt has ended."`
}

type fileQuery struct {
	ID   string `path:"id" maxLength:"400" doc:"The task's id."`
	Path string `query:"path" maxLength:"1000" doc:"Within the sandbox; the whole of it where absent."`
}

type readQuery struct {
	ID     string `path:"id" maxLength:"400" doc:"The task's id."`
	Path   string `query:"path" required:"true" minLength:"1" maxLength:"1000" doc:"Within the sandbox."`
	Offset int64  `query:"offset" minimum:"0" default:"0" doc:"In bytes, from the start of the file."`
	Limit  int    `query:"limit" minimum:"1" maximum:"1048576" default:"65536" doc:"In bytes."`
}

type connectionsQuery struct {
	ID            string `path:"id" maxLength:"400"`
	Authorization string `header:"Authorization" doc:"Bearer and the task's own token."`
}

// followEvery is how often a followed log is read; it is a read through the
// agent, for each follower.
const followEvery = 500 * time.Millisecond

func (s *Server) taskOperations(api huma.API) {
	logs := operation(http.MethodGet, "/v1/tasks/{id}/logs", "readLog", "Read or follow what a task wrote.")
	logs.Responses = map[string]*huma.Response{"200": {
		Description: "The bytes as they are in the file.",
		Content:     map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}},
		Headers: map[string]*huma.Param{
			rest.LogOffset: {Schema: &huma.Schema{Type: huma.TypeInteger}, Description: "Where in the file the body begins."},
			rest.LogSize:   {Schema: &huma.Schema{Type: huma.TypeInteger}, Description: "The file's size now."},
			rest.LogEnd:    {Schema: &huma.Schema{Type: huma.TypeBoolean}, Description: "The attempt has ended, and the body holds the rest of its file."},
		},
	}}
	huma.Register(api, logs, s.readLog)
	register(api, http.MethodGet, "/v1/tasks/{id}/files", "listFiles", "List a directory of a task's sandbox.",
		func(ctx context.Context, in *fileQuery) (*body[rest.FileList], error) {
			list, err := s.Scheduler.ListFiles(ctx, jobs.TaskID(in.ID), in.Path)
			return bodyOf(rest.FileList{Files: list}, err)
		})
	content := operation(http.MethodGet, "/v1/tasks/{id}/file", "readFile", "Read a file of a task's sandbox.")
	content.Responses = map[string]*huma.Response{"200": {
		Description: "The bytes as they are in the file.",
		Content:     map[string]*huma.MediaType{rest.Bytes: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}},
		Headers: map[string]*huma.Param{
			rest.FileOffset: {Schema: &huma.Schema{Type: huma.TypeInteger}, Description: "Where in the file the body begins."},
			rest.FileSize:   {Schema: &huma.Schema{Type: huma.TypeInteger}, Description: "The file's size now."},
		},
	}}
	huma.Register(api, content, s.readFile)
	register(api, http.MethodGet, "/v1/tasks/{id}/connections", "readConnections", "Hand the addresses that a task's work needs to its executor.",
		func(ctx context.Context, in *connectionsQuery) (*body[jobs.Connections], error) {
			token := bearer(in.Authorization)
			if token == "" {
				return nil, rest.NewProblem(http.StatusUnauthorized, "connections are for the bearer of the task's token", "")
			}
			return bodyOf(s.Scheduler.Connections(ctx, jobs.TaskID(in.ID), token))
		})
}

func (s *Server) readLog(ctx context.Context, in *logQuery) (*huma.StreamResponse, error) {
	chunk, err := s.log(ctx, in, in.Offset)
	if err != nil {
		return nil, rest.FromError(err)
	}
	if in.Follow {
		if err := s.admit(); err != nil {
			return nil, err
		}
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		hc.SetHeader("Content-Type", rest.Text)
		hc.SetHeader("X-Content-Type-Options", "nosniff")
		hc.SetHeader(rest.LogOffset, strconv.FormatInt(chunk.Offset, 10))
		hc.SetHeader(rest.LogSize, strconv.FormatInt(chunk.Size, 10))
		hc.SetHeader(rest.LogEnd, strconv.FormatBool(chunk.End))
		hc.SetStatus(http.StatusOK)
		if !in.Follow {
			_, _ = hc.BodyWriter().Write(chunk.Data) // the caller may be gone
			return
		}
		s.followLog(hc, in, chunk)
	}}, nil
}

func (s *Server) readFile(ctx context.Context, in *readQuery) (*huma.StreamResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	chunk, err := s.Scheduler.ReadFile(ctx, jobs.TaskID(in.ID), in.Path, in.Offset, in.Limit)
	if err != nil {
		return nil, rest.FromError(err)
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		hc.SetHeader("Content-Type", rest.Bytes)
		hc.SetHeader("X-Content-Type-Options", "nosniff")
		hc.SetHeader(rest.FileOffset, strconv.FormatInt(chunk.Offset, 10))
		hc.SetHeader(rest.FileSize, strconv.FormatInt(chunk.Size, 10))
		hc.SetStatus(http.StatusOK)
		_, _ = hc.BodyWriter().Write(chunk.Data) // the caller may be gone
	}}, nil
}

func (s *Server) log(ctx context.Context, in *logQuery, offset int64) (jobs.LogChunk, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return s.Scheduler.Log(ctx, jobs.TaskID(in.ID), in.Stream, offset, in.Limit)
}

// followLog writes what comes until the attempt has ended, the caller or the
// server goes, or the log cannot be read any more: the caller, who counts the
// bytes, then asks again from where it was.
func (s *Server) followLog(hc huma.Context, in *logQuery, chunk jobs.LogChunk) {
	out := s.stream(hc)
	defer out.close()
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	for {
		if !out.write(chunk.Data) || chunk.End {
			return
		}
		next := chunk.Offset + int64(len(chunk.Data))
		if next >= chunk.Size { // read all there is
			select {
			case <-ticker.C:
			case <-out.ended():
				return
			}
		}
		var err error
		if chunk, err = s.log(hc.Context(), in, next); err != nil {
			s.Log.Debug().Err(err).Str("task", in.ID).Msg("followed log cannot be read on")
			return
		}
	}
}
