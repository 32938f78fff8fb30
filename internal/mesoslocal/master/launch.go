package master

import (
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"tidemill/internal/mesoslocal/resources"
	"tidemill/internal/mesoslocal/wire"
)

// accept performs an ACCEPT: its operations in order, then what is left is free again.
func (m *Master) accept(f *framework, accept *scheduler.Call_Accept) {
	offers, err := m.claim(f, accept.OfferIDs)
	if err != nil {
		m.refuseLaunches(f, accept.Operations, err)
		return
	}
	l := &launcher{m: m, framework: f, agent: offers[0].agent, role: offers[0].role}
	for _, o := range offers {
		l.free = l.free.Plus(o.amount)
	}
	for i := range accept.Operations {
		switch operation := &accept.Operations[i]; operation.Type {
		case mesos.Offer_Operation_LAUNCH:
			for j := range operation.Launch.GetTaskInfos() {
				l.launch(&operation.Launch.TaskInfos[j])
			}
		case mesos.Offer_Operation_LAUNCH_GROUP:
			l.launchGroup(operation.LaunchGroup)
		default:
			l.operate(operation)
		}
	}
	if !l.free.Empty() {
		f.refuse(l.role, l.agent.id, l.free, m.filterUntil(accept.Filters))
	}
}

// refuseLaunches answers every task of an ACCEPT whose offers are invalid.
func (m *Master) refuseLaunches(f *framework, operations []mesos.Offer_Operation, cause error) {
	state := mesos.TASK_LOST
	if f.partitionAware() {
		state = mesos.TASK_DROPPED
	}
	refuse := func(tasks []mesos.TaskInfo) {
		for _, t := range tasks {
			status := masterStatus(t.TaskID, state, mesos.REASON_INVALID_OFFERS, "Task launched with invalid offers: "+cause.Error())
			status.AgentID = &mesos.AgentID{Value: t.AgentID.Value}
			m.sendStatus(f, status)
		}
	}
	for _, operation := range operations {
		refuse(operation.Launch.GetTaskInfos())
		if operation.LaunchGroup != nil {
			refuse(operation.LaunchGroup.TaskGroup.Tasks)
		}
	}
}

// launcher launches tasks of one framework on one agent, out of accepted offers.
type launcher struct {
	m         *Master
	framework *framework
	agent     *agent
	role      string
	free      resources.Bundle
}

func (l *launcher) launch(info *mesos.TaskInfo) {
	resources.Allocate(info.Resources, l.role)
	if info.Executor != nil {
		resources.Allocate(info.Executor.Resources, l.role)
		info.Executor.FrameworkID = &mesos.FrameworkID{Value: l.framework.id}
	}
	if err := l.validate(info); err != nil {
		l.reject(info, mesos.REASON_TASK_INVALID, err)
		return
	}
	l.take(info, info.Executor)
	l.agent.send(wire.ToAgent{Launch: &wire.Launch{
		Framework: wire.FrameworkInfo{Value: l.framework.info},
		Tasks:     []wire.TaskInfo{{Value: *info}},
	}})
}

// launchGroup hands a group of tasks to an executor that takes groups.
func (l *launcher) launchGroup(operation *mesos.Offer_Operation_LaunchGroup) {
	if operation == nil {
		return
	}
	executor, tasks := &operation.Executor, operation.TaskGroup.Tasks
	resources.Allocate(executor.Resources, l.role)
	executor.FrameworkID = &mesos.FrameworkID{Value: l.framework.id}
	for i := range tasks {
		resources.Allocate(tasks[i].Resources, l.role)
	}
	if err := l.validateGroup(executor, tasks); err != nil {
		for i := range tasks {
			l.reject(&tasks[i], mesos.REASON_TASK_GROUP_INVALID, err)
		}
		return
	}
	message := &wire.Launch{
		Framework: wire.FrameworkInfo{Value: l.framework.info},
		Executor:  &wire.ExecutorInfo{Value: *executor},
	}
	for i := range tasks {
		tasks[i].Executor = executor
		l.take(&tasks[i], executor)
		message.Tasks = append(message.Tasks, wire.TaskInfo{Value: tasks[i]})
	}
	l.agent.send(wire.ToAgent{Launch: message})
}

func (l *launcher) reject(info *mesos.TaskInfo, reason mesos.TaskStatus_Reason, cause error) {
	status := masterStatus(info.TaskID, mesos.TASK_ERROR, reason, cause.Error())
	status.AgentID = &mesos.AgentID{Value: info.AgentID.Value}
	l.m.sendStatus(l.framework, status)
}

// take books a task, and its executor where that is new on the agent.
func (l *launcher) take(info *mesos.TaskInfo, custom *mesos.ExecutorInfo) {
	t := &task{
		info: info, framework: l.framework.id, agent: l.agent.id, role: l.role,
		amount: resources.Of(info.Resources), state: mesos.TASK_STAGING,
	}
	if custom != nil {
		t.executor = custom.ExecutorID.Value
		if l.agent.executors[l.framework.id][t.executor] == nil {
			e := &executor{info: *custom, role: l.role, amount: resources.Of(custom.Resources)}
			l.agent.addExecutor(l.framework.id, e)
			l.framework.charge(l.role, e.amount)
			l.free = l.free.Minus(e.amount)
		}
	}
	l.framework.tasks[t.id()] = t
	l.agent.addTask(t)
	l.framework.charge(l.role, t.amount)
	l.free = l.free.Minus(t.amount)
	l.m.metrics.launched++
}
