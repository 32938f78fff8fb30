package mesos

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib/agent"
	"golang.org/x/sys/unix"

	"tidemill/jobs"
	"tidemill/scheduler"
)

const (
	filesConns = 4
	// maxRead is more than a READ_FILE's answer: 16 pages, in base64.
	maxRead = 4 << 20
	// maxState bounds an agent's /state: a long-lived one tells of thousands
	// of completed executors.
	maxState = 64 << 20
	// maxRuns bounds how many of an executor's runs are searched, newest first.
	maxRuns = 16
	// filesTimeout bounds one request.
	filesTimeout = 10 * time.Second
)

// Files reads sandboxes through the agents, as scheduler.Files asks for it. It
// uses the operator API's READ_FILE, which tells the file's size with every
// piece and carries any bytes; /files/read puts them into JSON text.
type Files struct {
	http      http.RoundTripper
	secure    bool
	authorize func(*http.Request)
}

var _ scheduler.Files = (*Files)(nil)

// NewFiles makes a reader; principal and secret authenticate where they are set.
func NewFiles(principal, secret string, secure *tls.Config) *Files {
	f := &Files{http: newTransport(filesConns, secure), secure: secure != nil}
	if principal != "" && secret != "" {
		f.authorize = func(r *http.Request) { r.SetBasicAuth(principal, secret) }
	}
	return f
}

// Read gives up to limit bytes from offset, and the file's size. It looks in
// the executor's latest run, and where the file is not there, in its earlier
// ones: a shared executor's id lives on when the executor died.
func (f *Files) Read(ctx context.Context, where scheduler.Sandbox, file string, offset int64, limit int) (data []byte, size int64, err error) {
	if !filepath.IsLocal(file) || offset < 0 || limit < 0 {
		return nil, 0, fmt.Errorf("read %q from %d: not a place within a sandbox", file, offset)
	}
	err = f.seek(ctx, where, func(run string) error {
		data, size, err = f.read(ctx, where.AgentAddr, path.Join(run, file), offset, limit)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("read %s of executor %s: %w", file, where.Executor, err)
	}
	return data, size, nil
}

// List gives what is in a directory, which is looked for as by Read.
func (f *Files) List(ctx context.Context, where scheduler.Sandbox, dir string) (list []jobs.File, err error) {
	if !filepath.IsLocal(dir) {
		return nil, fmt.Errorf("list %q: not a place within a sandbox", dir)
	}
	err = f.seek(ctx, where, func(run string) error {
		list, err = f.list(ctx, where.AgentAddr, run, dir)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list %s of executor %s: %w", dir, where.Executor, err)
	}
	return list, nil
}

// seek looks in the executor's latest run, and where there is no such file, in
// the earlier ones.
func (f *Files) seek(ctx context.Context, where scheduler.Sandbox, look func(run string) error) error {
	latest := path.Join("/frameworks", where.FrameworkID, "executors", where.Executor, "runs/latest")
	err := look(latest)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	runs, stateErr := f.runs(ctx, where)
	if stateErr != nil {
		return stateErr
	}
	for _, run := range runs {
		if err := look(run); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

func (f *Files) list(ctx context.Context, addr, run, dir string) ([]jobs.File, error) {
	var answer agent.Response
	at := path.Join(run, dir)
	call := &agent.Call{Type: agent.Call_LIST_FILES, ListFiles: &agent.Call_ListFiles{Path: at}}
	if err := f.ask(ctx, addr, call, &answer); err != nil {
		return nil, fmt.Errorf("list %s on agent %s: %w", at, addr, err)
	}
	list := make([]jobs.File, 0, len(answer.GetListFiles().GetFileInfos()))
	for _, info := range answer.GetListFiles().GetFileInfos() {
		list = append(list, jobs.File{
			Path: path.Join(dir, path.Base(info.Path)), Size: int64(info.GetSize_()), Directory: info.GetMode()&unix.S_IFMT == unix.S_IFDIR,
			Modified: time.Unix(0, info.GetMtime().GetNanoseconds()).UTC(),
		})
	}
	return list, nil
}

// ask makes one call of the operator API.
func (f *Files) ask(ctx context.Context, addr string, call *agent.Call, answer *agent.Response) error {
	ctx, cancel := context.WithTimeout(ctx, filesTimeout)
	defer cancel()
	to, err := f.endpoint(addr, operatorPath)
	if err != nil {
		return err
	}
	err = to.ask(ctx, f.http, call, answer, maxRead)
	var refused *scheduler.CallError
	if errors.As(err, &refused) && refused.Status == http.StatusNotFound {
		return fs.ErrNotExist
	}
	return err
}

// read collects pieces: an agent gives at most 16 pages at once.
func (f *Files) read(ctx context.Context, addr, file string, offset int64, limit int) ([]byte, int64, error) {
	var data []byte
	for {
		piece, size, err := f.piece(ctx, addr, file, offset+int64(len(data)), limit-len(data))
		if err != nil {
			return nil, 0, fmt.Errorf("read %s on agent %s: %w", file, addr, err)
		}
		data = append(data, piece...)
		if len(piece) == 0 || len(data) >= limit || offset+int64(len(data)) >= size {
			return data, size, nil
		}
	}
}

func (f *Files) piece(ctx context.Context, addr, file string, offset int64, limit int) ([]byte, int64, error) {
	length := uint64(limit)
	call := &agent.Call{Type: agent.Call_READ_FILE, ReadFile: &agent.Call_ReadFile{
		Path: file, Offset: uint64(offset), Length: &length,
	}}
	var answer agent.Response
	if err := f.ask(ctx, addr, call, &answer); err != nil {
		return nil, 0, err
	}
	if answer.ReadFile == nil {
		return nil, 0, errors.New("the agent answered without the file")
	}
	data := answer.ReadFile.Data
	return data[:min(len(data), limit)], int64(answer.ReadFile.Size_), nil
}

func (f *Files) endpoint(addr, at string) (*endpoint, error) {
	where, err := baseURL(addr, at, f.secure)
	if err != nil {
		return nil, fmt.Errorf("agent's %w", err)
	}
	return &endpoint{url: where, codec: JSON, authorize: f.authorize}, nil
}

// agentState is the part of an agent's /state that tells of sandboxes.
type agentState struct {
	Frameworks          []agentFramework `json:"frameworks"`
	CompletedFrameworks []agentFramework `json:"completed_frameworks"`
}

type agentFramework struct {
	ID                 string         `json:"id"`
	Executors          []agentSandbox `json:"executors"`
	CompletedExecutors []agentSandbox `json:"completed_executors"`
}

type agentSandbox struct {
	ID        string `json:"id"`
	Directory string `json:"directory"`
}

// runs are the sandboxes of an executor that the agent remembers, newest first.
func (f *Files) runs(ctx context.Context, where scheduler.Sandbox) ([]string, error) {
	state, err := f.state(ctx, where.AgentAddr)
	if err != nil {
		return nil, fmt.Errorf("read the state of agent %s: %w", where.AgentAddr, err)
	}
	var dirs []string
	remember := func(e agentSandbox) {
		if e.ID == where.Executor && e.Directory != "" {
			dirs = append(dirs, e.Directory)
		}
	}
	for _, fw := range append(state.Frameworks, state.CompletedFrameworks...) {
		if fw.ID != where.FrameworkID {
			continue
		}
		for _, e := range fw.Executors {
			remember(e)
		}
		for _, e := range slices.Backward(fw.CompletedExecutors) {
			remember(e)
		}
	}
	return dirs[:min(len(dirs), maxRuns)], nil
}

func (f *Files) state(ctx context.Context, addr string) (*agentState, error) {
	ctx, cancel := context.WithTimeout(ctx, filesTimeout)
	defer cancel()
	to, err := f.endpoint(addr, "/state")
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.url.String(), nil)
	if err != nil {
		return nil, err
	}
	if f.authorize != nil {
		f.authorize(req)
	}
	resp, err := f.http.RoundTrip(req)
	if err != nil {
		return nil, hintTLS(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, refusal(resp)
	}
	var state agentState
	return &state, json.NewDecoder(io.LimitReader(resp.Body, maxState)).Decode(&state)
}
