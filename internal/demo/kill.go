package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"tidemill/internal/mesoslocal/container"
	"tidemill/jobs"
)

// recovery is how long anything that was killed may be missed.
const recovery = 90 * time.Second

// kill kills the leading scheduler, an executor and an agent, each when so
// much of what is to be sent has been answered, and waits until the work goes
// on without it.
func (d *demo) kill(ctx context.Context, answered *atomic.Int64, all int64) error {
	for _, k := range []struct {
		percent int64
		do      func(context.Context) error
	}{{15, d.killLeader}, {40, d.killExecutor}, {65, d.killAgent}} {
		reached := func(context.Context) (bool, string, error) { return answered.Load()*100 >= all*k.percent, "", nil }
		if err := d.until(ctx, reached); err != nil {
			return err
		}
		if err := k.do(ctx); err != nil {
			return err
		}
	}
	return nil
}

// until waits silently, as long as ctx lasts.
func (d *demo) until(ctx context.Context, reached func(context.Context) (bool, string, error)) error {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		if done, _, err := reached(ctx); done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// recovered waits until the work goes on, and says after how long.
func (d *demo) recovered(ctx context.Context, what string, done func(context.Context) (bool, string, error)) error {
	began := time.Now()
	var text string
	err := d.await(ctx, what, recovery, func(ctx context.Context) (bool, string, error) {
		ok, note, err := done(ctx)
		text = note
		return ok, "waiting for " + what, err
	})
	if err == nil {
		d.screen.say("%s after %.1f s", text, time.Since(began).Seconds())
	}
	return err
}

// killLeader kills the scheduler that leads, and starts it again once the
// other one leads.
func (d *demo) killLeader(ctx context.Context) error {
	s, err := d.api.status(ctx)
	if err != nil {
		return err
	}
	leader := d.schedulerAt(s.Leader)
	if leader == nil {
		return fmt.Errorf("the leader is %q, which is no scheduler of this demo", s.Leader)
	}
	d.screen.say("KILL -9 the leading scheduler: %s, pid %d", leader.name, leader.pid())
	leader.kill()
	err = d.recovered(ctx, "another scheduler to lead", func(ctx context.Context) (bool, string, error) {
		s, err := d.api.status(ctx)
		return err == nil && s.Subscribed && s.Leader != leader.url, d.nameOf(s.Leader) + " leads", err
	})
	if err != nil {
		return err
	}
	if err := leader.start(); err != nil {
		return err
	}
	d.screen.say("%s is started again, pid %d, and stands by", leader.name, leader.pid())
	return nil
}

// killExecutor kills the executor of an instance of the writer.
func (d *demo) killExecutor(ctx context.Context) error {
	victim, err := d.victim(ctx, writer, "")
	if err != nil {
		return err
	}
	pid, err := executorPID(ctx, victim)
	if err != nil {
		return err
	}
	d.screen.say("KILL -9 the executor of %s on %s, pid %d", victim.Job, victim.Host, pid)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill executor %d: %w", pid, err)
	}
	return d.runsAgain(ctx, victim)
}

// killAgent kills an agent on which an instance of the writer runs. Its
// executors live on, as with any Mesos; when it is started again it finds them,
// and what was replaced meanwhile is ended.
func (d *demo) killAgent(ctx context.Context) error {
	victim, err := d.victim(ctx, writer, elsewhere)
	if err != nil {
		return err
	}
	agent := d.agentAt(victim.AgentAddr)
	if agent == nil {
		return fmt.Errorf("task %s is on an agent at %s, which is none of this demo", victim.ID, victim.AgentAddr)
	}
	d.screen.say("KILL -9 the agent on %s with an instance of %s: %s, pid %d", victim.Host, victim.Job, agent.Name, agent.Pid())
	agent.Kill()
	if err := d.runsAgain(ctx, victim); err != nil {
		return err
	}
	if err := agent.Start(ctx); err != nil {
		return err
	}
	d.screen.say("%s is started again, pid %d", agent.Name, agent.Pid())
	return nil
}

// victim chooses a running attempt of a service, on any other host if it can.
func (d *demo) victim(ctx context.Context, name jobs.Name, but string) (jobs.TaskView, error) {
	var found jobs.TaskView
	err := d.await(ctx, "an instance of "+string(name), recovery, func(ctx context.Context) (bool, string, error) {
		_, running, err := d.service(ctx, name)
		if err != nil || len(running) == 0 {
			return false, "no instance runs", err
		}
		found = running[max(0, slices.IndexFunc(running, func(t jobs.TaskView) bool { return t.Host != but }))]
		return true, "", nil
	})
	return found, err
}

// runsAgain waits until a later attempt does the work of one that is gone.
func (d *demo) runsAgain(ctx context.Context, gone jobs.TaskView) error {
	return d.recovered(ctx, "another attempt of "+string(gone.Job), func(ctx context.Context) (bool, string, error) {
		v, running, err := d.service(ctx, gone.Job)
		for _, t := range running {
			if t.Split == gone.Split && (t.Attempt > gone.Attempt || v.ID != gone.Run) {
				return true, fmt.Sprintf("attempt %d of %s runs on %s", t.Attempt, t.Job, t.Host), nil
			}
		}
		return false, "", err
	})
}

// executorPID asks the agent for the process of an attempt's executor.
func executorPID(ctx context.Context, t jobs.TaskView) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+t.AgentAddr+"/containers", nil)
	if err != nil {
		return 0, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("ask agent %s for its containers: %w", t.AgentAddr, err)
	}
	var list []struct {
		Executor string `json:"executor_id"`
		Status   struct {
			PID int `json:"executor_pid"`
		} `json:"status"`
	}
	err = errors.Join(json.NewDecoder(answer.Body).Decode(&list), answer.Body.Close())
	if err != nil {
		return 0, fmt.Errorf("read the containers of agent %s: %w", t.AgentAddr, err)
	}
	for _, c := range list {
		if c.Executor != t.Executor {
			continue
		}
		// The agent knows the container; the executor is what runs in it.
		if inside := container.Children(c.Status.PID); len(inside) > 0 {
			return inside[0], nil
		}
	}
	return 0, fmt.Errorf("agent %s has no process of executor %s", t.AgentAddr, t.Executor)
}
