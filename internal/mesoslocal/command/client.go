package command

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	exec "github.com/mesos/mesos-go/api/v1/lib/executor"
	"github.com/mesos/mesos-go/api/v1/lib/recordio"

	"tidemill/internal/mesoslocal/wire"
)

func (e *Executor) post(ctx context.Context, call *exec.Call) (*http.Response, error) {
	call.FrameworkID, call.ExecutorID = e.framework, e.id
	body, err := call.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", call.Type, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+e.agent+"/api/v1/executor", bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", call.Type, err)
	}
	request.Header.Set("Content-Type", wire.Protobuf)
	request.Header.Set("Accept", wire.Protobuf)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", call.Type, err)
	}
	return response, nil
}

// subscribe holds one subscription; it reports whether the agent took it, and returns
// when it ends.
func (e *Executor) subscribe(ctx context.Context) (connected bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	response, err := e.post(ctx, e.subscription())
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10)) // what there is of it
		return false, fmt.Errorf("subscribe: %s: %s", response.Status, text)
	}
	go func() { // ends with the subscription
		select {
		case <-e.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	for reader := recordio.NewReader(bufio.NewReader(response.Body), recordio.MaxMessageSize(64<<20)); ; {
		frame, err := reader.ReadFrame()
		if err != nil {
			return true, err
		}
		event := &exec.Event{}
		if err := event.Unmarshal(frame); err != nil {
			return true, fmt.Errorf("decode event: %w", err)
		}
		if err := e.event(event); err != nil {
			return true, err
		}
	}
}

func (e *Executor) subscription() *exec.Call {
	e.mu.Lock()
	defer e.mu.Unlock()
	request := &exec.Call_Subscribe{}
	for _, status := range e.unacked {
		request.UnacknowledgedUpdates = append(request.UnacknowledgedUpdates, exec.Call_Update{Status: status})
	}
	if e.task != nil && len(e.unacked) > 0 {
		request.UnacknowledgedTasks = []mesos.TaskInfo{*e.task}
	}
	return &exec.Call{Type: exec.Call_SUBSCRIBE, Subscribe: request}
}

// sendUpdates posts updates in order. One that does not get through goes with the next
// subscription, which lists what is not acknowledged.
func (e *Executor) sendUpdates(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case status := <-e.outbox:
			bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
			response, err := e.post(bounded, &exec.Call{Type: exec.Call_UPDATE, Update: &exec.Call_Update{Status: status}})
			if err == nil {
				_ = response.Body.Close() // it is empty
			}
			cancel()
		}
	}
}
