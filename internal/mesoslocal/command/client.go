package command

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
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

// retryUpdate is how long to wait before an update that the agent did not take goes again.
const retryUpdate = 200 * time.Millisecond

// sendUpdates posts updates in order. An agent that is away, or that has not finished its
// recovery, gets them again until it takes them.
func (e *Executor) sendUpdates(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case status := <-e.outbox:
			for !e.deliver(ctx, status) {
				select {
				case <-ctx.Done():
					return
				case <-time.After(retryUpdate):
				}
			}
		}
	}
}

// deliver posts an update once, and tells whether the agent has it now; a subscription may
// have carried it meanwhile.
func (e *Executor) deliver(ctx context.Context, status mesos.TaskStatus) bool {
	if !e.awaits(status) {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	response, err := e.post(ctx, &exec.Call{Type: exec.Call_UPDATE, Update: &exec.Call_Update{Status: status}})
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode != http.StatusServiceUnavailable
}

// awaits tells whether an update is not acknowledged yet.
func (e *Executor) awaits(status mesos.TaskStatus) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.ContainsFunc(e.unacked, func(one mesos.TaskStatus) bool { return bytes.Equal(one.UUID, status.UUID) })
}
