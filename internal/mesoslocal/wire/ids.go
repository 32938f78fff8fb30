package wire

import (
	"crypto/rand"
	"fmt"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// Terminal tells whether a task in this state never changes it again.
func Terminal(state mesos.TaskState) bool {
	switch state {
	case mesos.TASK_FINISHED, mesos.TASK_FAILED, mesos.TASK_KILLED, mesos.TASK_ERROR, mesos.TASK_LOST,
		mesos.TASK_DROPPED, mesos.TASK_GONE, mesos.TASK_GONE_BY_OPERATOR:
		return true
	}
	return false
}

// NewUUID is a random (version 4) UUID, as updates carry it: 16 bytes.
func NewUUID() []byte {
	u := make([]byte, 16)
	_, _ = rand.Read(u) // never fails
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return u
}

// NewID is a random UUID as text, for what is called by one: a master, a stream, a container.
func NewID() string {
	u := NewUUID()
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
