package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/rs/zerolog"

	"tidemill/executor"
	"tidemill/internal/lifeline"
	"tidemill/internal/mesos"
)

// executorCmd is what Mesos agents start.
type executorCmd struct {
	Shared bool `help:"Serve many tasks and stay until told to end, rather than end with the first."`
}

// Help says more than one line.
func (executorCmd) Help() string {
	return "Started by a Mesos agent, which tells it through MESOS_* variables where it is."
}

// Run serves the agent until the executor is done.
func (c executorCmd) Run(ctx context.Context, log zerolog.Logger) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	if err := lifeline.Watch(func() { end(errors.New("the one who started the agent is gone")) }); err != nil {
		return fmt.Errorf("start the executor: %w", err)
	}
	o, err := executor.FromEnvironment(os.Getenv)
	if err != nil {
		return fmt.Errorf("start the executor: %w", err)
	}
	o.Log, o.Shared = log, c.Shared
	if o.Agent, err = mesos.NewAgent(os.Getenv, mesos.Protobuf, log); err != nil {
		return fmt.Errorf("start the executor: %w", err)
	}
	if o.Registry, err = kinds(); err != nil {
		return fmt.Errorf("start the executor: %w", err)
	}
	return executor.New(o).Run(ctx)
}
