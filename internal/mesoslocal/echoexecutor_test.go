package mesoslocal

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	exec "github.com/mesos/mesos-go/api/v1/lib/executor"
	"github.com/mesos/mesos-go/api/v1/lib/recordio"

	"tidemill/internal/mesoslocal/wire"
)

// runEchoExecutor finishes every task at once, until it is shut down.
func runEchoExecutor() int {
	response, err := echoCall(&exec.Call{Type: exec.Call_SUBSCRIBE, Subscribe: &exec.Call_Subscribe{}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer response.Body.Close()
	for reader := recordio.NewReader(bufio.NewReader(response.Body)); ; {
		frame, err := reader.ReadFrame()
		if err != nil {
			return 0
		}
		event := &exec.Event{}
		if event.Unmarshal(frame) != nil || event.Type == exec.Event_SHUTDOWN {
			return 0
		}
		if event.Type != exec.Event_LAUNCH {
			continue
		}
		for _, state := range []mesos.TaskState{mesos.TASK_RUNNING, mesos.TASK_FINISHED} {
			uuid := make([]byte, 16)
			_, _ = rand.Read(uuid) // never fails
			answer, err := echoCall(&exec.Call{Type: exec.Call_UPDATE, Update: &exec.Call_Update{Status: mesos.TaskStatus{
				TaskID: event.Launch.Task.TaskID, State: &state, Source: mesos.SOURCE_EXECUTOR.Enum(), UUID: uuid,
			}}})
			if err != nil {
				return 1
			}
			answer.Body.Close()
		}
	}
}

func echoCall(call *exec.Call) (*http.Response, error) {
	call.FrameworkID.Value, call.ExecutorID.Value = os.Getenv("MESOS_FRAMEWORK_ID"), os.Getenv("MESOS_EXECUTOR_ID")
	body, err := call.Marshal()
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequest(http.MethodPost, "http://"+os.Getenv("MESOS_AGENT_ENDPOINT")+"/api/v1/executor", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", wire.Protobuf)
	request.Header.Set("Accept", wire.Protobuf)
	return http.DefaultClient.Do(request)
}
