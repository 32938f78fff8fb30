// Package mesoslocal is the local Mesos: a master and agents on real sockets, with
// executors as real processes, that answer as a real Mesos 1.x does in all that a
// framework relies on. Recordings of a real one are the measure of it.
//
// Programs that start agents run its helper processes too: their main (or TestMain)
// begins with RunHelper.
package mesoslocal

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"tidemill/internal/mesoslocal/agent"
	"tidemill/internal/mesoslocal/command"
	"tidemill/internal/mesoslocal/container"
	"tidemill/internal/mesoslocal/master"
	"tidemill/internal/mesoslocal/wire"
)

// The parts of a local Mesos.
type (
	Master        = master.Master
	MasterOptions = master.Options
	Agent         = agent.Agent
	AgentOptions  = agent.Options
)

// StartMaster starts a master; see master.Start.
func StartMaster(ctx context.Context, options MasterOptions) (*Master, error) {
	return master.Start(ctx, options)
}

// StartAgent starts an agent; see agent.Start.
func StartAgent(ctx context.Context, options AgentOptions) (*Agent, error) {
	return agent.Start(ctx, options)
}

// RunHelper runs one of the helper processes if the arguments (os.Args[1:]) ask for it,
// and tells whether they did; then the process is to exit with the code. They are
// "mesos container SPEC", which ends the process itself as the executor ended unless that
// could not be started, and "mesos command-executor".
func RunHelper(args []string) (code int, asked bool) {
	if len(args) < 2 || args[0] != "mesos" {
		return 0, false
	}
	var err error
	switch {
	case args[1] == agent.ContainerHelper && len(args) == 3:
		err = container.Supervise(args[2])
	case args[1] == agent.CommandHelper:
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		err = command.Run(ctx, os.Getenv, wire.SystemClock{})
	default:
		return 0, false
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}
