package agent

import (
	"net/http"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	apiagent "github.com/mesos/mesos-go/api/v1/lib/agent"

	"tidemill/internal/mesoslocal/resources"
	"tidemill/internal/mesoslocal/wire"
)

// Version is what the agent says it is.
const Version = "1.12.0"

// routes are served with and without the prefix /slave(1), as by Mesos.
func (a *Agent) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(path string, handler http.HandlerFunc) {
		mux.HandleFunc(path, handler)
		mux.HandleFunc("/slave(1)"+path, handler)
	}
	handle("/api/v1/executor", a.serveExecutor)
	handle("/api/v1", a.whenRecovered(a.serveOperator))
	handle("/state", a.whenRecovered(a.serveState))
	handle("/containers", a.whenRecovered(a.serveContainers))
	handle("/health", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	handle("/version", func(w http.ResponseWriter, r *http.Request) { wire.WriteJSON(w, r, wire.Object{"version": Version}) })
	mux.HandleFunc("/files/read", a.serveRead) // the former /files/read.json is gone from Mesos
	mux.HandleFunc("/files/browse", a.serveBrowse)
	mux.HandleFunc("/files/download", a.serveDownload)
	mux.HandleFunc("/files/debug", a.serveFilesDebug)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		wire.Text(w, http.StatusNotFound, "404 Not Found.")
	})
	return mux
}

func (a *Agent) whenRecovered(handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		recovered := a.recovered
		a.mu.Unlock()
		if !recovered {
			wire.Text(w, http.StatusServiceUnavailable, "Agent has not finished recovery")
			return
		}
		handler(w, r)
	}
}

func (a *Agent) serveState(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	frameworks := []any{}
	for _, f := range a.frameworks {
		executors := []any{}
		for _, e := range f.executors {
			executors = append(executors, executorObject(e))
		}
		completed := []any{}
		for _, e := range a.completed {
			if e.framework.id() == f.id() {
				completed = append(completed, executorObject(e))
			}
		}
		frameworks = append(frameworks, wire.Object{
			"id": f.id(), "name": f.info.Name, "user": f.info.User, "failover_timeout": f.info.GetFailoverTimeout(),
			"checkpoint": f.checkpoints(), "executors": executors, "completed_executors": completed,
		})
	}
	state := wire.Object{
		"version": Version, "id": a.id, "pid": "slave(1)@" + a.Addr(), "hostname": a.hostname(),
		"start_time": wire.Unix(a.started), "resources": a.total.Object(), "attributes": resources.AttributesObject(a.attributes),
		"frameworks": frameworks, "completed_frameworks": a.completedFrameworks(),
		"flags": wire.Object{"work_dir": a.opts.WorkDir, "hostname": a.hostname()},
	}
	a.mu.Unlock()
	wire.WriteJSON(w, r, state)
}

// completedFrameworks lists those of which only ended executors are left.
func (a *Agent) completedFrameworks() []any {
	byID := map[string][]any{}
	infos := map[string]*framework{}
	for _, e := range a.completed {
		if id := e.framework.id(); a.frameworks[id] == nil {
			byID[id] = append(byID[id], executorObject(e))
			infos[id] = e.framework
		}
	}
	list := []any{}
	for id, executors := range byID {
		list = append(list, wire.Object{
			"id": id, "name": infos[id].info.Name, "user": infos[id].info.User,
			"executors": []any{}, "completed_executors": executors,
		})
	}
	return list
}

func executorObject(e *executor) wire.Object {
	tasks, queued, done := []any{}, []any{}, []any{}
	for _, t := range e.tasks {
		if e.isQueued(t.id()) {
			queued = append(queued, taskObject(e, t))
		} else {
			tasks = append(tasks, taskObject(e, t))
		}
	}
	for _, t := range e.done {
		done = append(done, taskObject(e, t))
	}
	return wire.Object{
		"id": e.id(), "name": e.info.GetName(), "source": e.info.GetSource(), "container": e.container,
		"directory": e.sandbox, "resources": resources.Of(e.info.Resources).Object(),
		"tasks": tasks, "queued_tasks": queued, "completed_tasks": done,
	}
}

func taskObject(e *executor, t *task) wire.Object {
	statuses := []any{}
	for _, s := range t.statuses {
		statuses = append(statuses, wire.Object{"state": s.State.String(), "timestamp": s.GetTimestamp()})
	}
	return wire.Object{
		"id": t.id(), "name": t.info.Name, "framework_id": e.framework.id(), "executor_id": e.id(),
		"slave_id": t.info.AgentID.Value, "state": t.state.String(),
		"resources": resources.Of(t.info.Resources).Object(), "statuses": statuses,
	}
}

func (a *Agent) serveContainers(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	list := []any{}
	for _, f := range a.frameworks {
		for _, e := range f.executors {
			if e.pid == 0 || e.phase == terminated {
				continue
			}
			list = append(list, wire.Object{
				"container_id": e.container, "executor_id": e.id(), "executor_name": e.info.GetName(),
				"framework_id": f.id(), "source": e.info.GetSource(), "status": wire.Object{"executor_pid": e.pid},
			})
		}
	}
	a.mu.Unlock()
	wire.WriteJSON(w, r, list)
}

// serveOperator answers the calls of the operator API that are supported.
func (a *Agent) serveOperator(w http.ResponseWriter, r *http.Request) {
	call := &apiagent.Call{}
	wire.ServeOperator(w, r, call, "agent", func() (wire.Reply, *wire.Fault) {
		response, fault := a.answer(call)
		return wire.Reply{Message: response}, fault
	})
}

func (a *Agent) answer(call *apiagent.Call) (*apiagent.Response, *wire.Fault) {
	switch call.Type {
	case apiagent.Call_GET_HEALTH:
		return &apiagent.Response{Type: apiagent.Response_GET_HEALTH, GetHealth: &apiagent.Response_GetHealth{Healthy: true}}, nil
	case apiagent.Call_GET_VERSION:
		return &apiagent.Response{Type: apiagent.Response_GET_VERSION,
			GetVersion: &apiagent.Response_GetVersion{VersionInfo: mesos.VersionInfo{Version: Version}}}, nil
	case apiagent.Call_LIST_FILES:
		return a.listFiles(call.ListFiles)
	case apiagent.Call_READ_FILE:
		return a.readFile(call.ReadFile)
	}
	return nil, wire.Faultf(http.StatusNotImplemented, "Operator call %s is not supported by the local Mesos", call.Type)
}
