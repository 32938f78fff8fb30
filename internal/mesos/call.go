package mesos

import (
	"fmt"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib"
	wire "github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// encodeCall says a call in Mesos's words, and which offers it answers.
func encodeCall(c scheduler.Call, offers *book) (call *wire.Call, answered []string, err error) {
	switch c := c.(type) {
	case scheduler.Accept:
		if len(c.Launches) == 0 {
			return decline(c.Offers, c.Refuse), c.Offers, nil
		}
		return accept(c, offers), c.Offers, nil
	case scheduler.Decline:
		return decline(c.Offers, c.Refuse), c.Offers, nil
	case scheduler.Revive:
		return &wire.Call{Type: wire.Call_REVIVE}, nil, nil
	case scheduler.Suppress:
		return &wire.Call{Type: wire.Call_SUPPRESS}, nil, nil
	case scheduler.Kill:
		return kill(c), nil, nil
	case scheduler.Shutdown:
		return &wire.Call{Type: wire.Call_SHUTDOWN, Shutdown: &wire.Call_Shutdown{
			ExecutorID: mesos.ExecutorID{Value: c.Executor}, AgentID: mesos.AgentID{Value: c.Agent},
		}}, nil, nil
	case scheduler.Acknowledge:
		return &wire.Call{Type: wire.Call_ACKNOWLEDGE, Acknowledge: &wire.Call_Acknowledge{
			AgentID: mesos.AgentID{Value: c.Agent}, TaskID: mesos.TaskID{Value: string(c.Task)}, UUID: c.UUID,
		}}, nil, nil
	case scheduler.Reconcile:
		return reconcile(c), nil, nil
	case scheduler.AcceptInverse:
		return &wire.Call{Type: wire.Call_ACCEPT_INVERSE_OFFERS, AcceptInverseOffers: &wire.Call_AcceptInverseOffers{
			InverseOfferIDs: offerIDs(c.IDs), Filters: filters(c.Refuse),
		}}, nil, nil
	case scheduler.DeclineInverse:
		return &wire.Call{Type: wire.Call_DECLINE_INVERSE_OFFERS, DeclineInverseOffers: &wire.Call_DeclineInverseOffers{
			InverseOfferIDs: offerIDs(c.IDs), Filters: filters(c.Refuse),
		}}, nil, nil
	case scheduler.Teardown:
		return &wire.Call{Type: wire.Call_TEARDOWN}, nil, nil
	}
	return nil, nil, fmt.Errorf("call: Mesos has no word for %T", c)
}

func accept(c scheduler.Accept, offers *book) *wire.Call {
	return &wire.Call{Type: wire.Call_ACCEPT, Accept: &wire.Call_Accept{
		OfferIDs: offerIDs(c.Offers),
		Operations: []mesos.Offer_Operation{{
			Type:   mesos.Offer_Operation_LAUNCH,
			Launch: &mesos.Offer_Operation_Launch{TaskInfos: taskInfos(c, offers)},
		}},
		Filters: filters(c.Refuse),
	}}
}

func decline(ids []string, refuse time.Duration) *wire.Call {
	return &wire.Call{Type: wire.Call_DECLINE, Decline: &wire.Call_Decline{
		OfferIDs: offerIDs(ids), Filters: filters(refuse),
	}}
}

func kill(c scheduler.Kill) *wire.Call {
	k := &wire.Call_Kill{TaskID: mesos.TaskID{Value: string(c.Task)}, KillPolicy: killPolicy(c.Grace)}
	if c.Agent != "" {
		k.AgentID = &mesos.AgentID{Value: c.Agent}
	}
	return &wire.Call{Type: wire.Call_KILL, Kill: k}
}

func reconcile(c scheduler.Reconcile) *wire.Call {
	tasks := make([]wire.Call_Reconcile_Task, len(c.Tasks))
	for i, t := range c.Tasks {
		tasks[i].TaskID.Value = string(t.Task)
		if t.Agent != "" {
			tasks[i].AgentID = &mesos.AgentID{Value: t.Agent}
		}
	}
	return &wire.Call{Type: wire.Call_RECONCILE, Reconcile: &wire.Call_Reconcile{Tasks: tasks}}
}

func offerIDs(ids []string) []mesos.OfferID {
	out := make([]mesos.OfferID, len(ids))
	for i, id := range ids {
		out[i].Value = id
	}
	return out
}

// filters always says it: left out, Mesos would refuse for five seconds.
func filters(refuse time.Duration) *mesos.Filters {
	seconds := refuse.Seconds()
	return &mesos.Filters{RefuseSeconds: &seconds}
}

// killPolicy is none without a grace: the task's own then holds.
func killPolicy(grace time.Duration) *mesos.KillPolicy {
	if grace <= 0 {
		return nil
	}
	return &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: int64(grace)}}
}

func graceOf(p *mesos.KillPolicy) time.Duration {
	return time.Duration(p.GetGracePeriod().GetNanoseconds())
}

func taskID(id mesos.TaskID) jobs.TaskID { return jobs.TaskID(id.Value) }
