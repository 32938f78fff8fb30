package mesos

import (
	"math"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib"
	wire "github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// events says in the scheduler's words what Mesos said. A subscription's own
// and those that a framework without operations never needs are left out. byName
// is as for offerOf.
func events(e *wire.Event, byName bool) []scheduler.Event {
	switch e.Type {
	case wire.Event_OFFERS:
		list := make([]jobs.Offer, len(e.Offers.GetOffers()))
		for i := range list {
			list[i] = offerOf(&e.Offers.Offers[i], byName)
		}
		return []scheduler.Event{scheduler.Offered{Offers: list}}
	case wire.Event_RESCIND:
		return []scheduler.Event{scheduler.Rescinded{Offer: e.Rescind.GetOfferID().Value}}
	case wire.Event_INVERSE_OFFERS:
		var list []scheduler.Event
		for i := range e.InverseOffers.GetInverseOffers() {
			list = append(list, inverseOf(&e.InverseOffers.InverseOffers[i]))
		}
		return list
	case wire.Event_RESCIND_INVERSE_OFFER:
		return []scheduler.Event{scheduler.InverseRescinded{ID: e.RescindInverseOffer.GetInverseOfferID().Value}}
	case wire.Event_UPDATE:
		if e.Update != nil {
			return []scheduler.Event{scheduler.Updated{Update: updateOf(&e.Update.Status)}}
		}
	case wire.Event_MESSAGE:
		if m := e.Message; m != nil {
			return []scheduler.Event{scheduler.Messaged{Agent: m.AgentID.Value, Executor: m.ExecutorID.Value, Data: m.Data}}
		}
	case wire.Event_FAILURE:
		return []scheduler.Event{failureOf(e.Failure)}
	case wire.Event_ERROR:
		return []scheduler.Event{scheduler.Refused{Message: e.Error.GetMessage()}}
	}
	return nil
}

// failureOf: without an executor it is the agent that is gone.
func failureOf(f *wire.Event_Failure) scheduler.Event {
	agent := f.GetAgentID().GetValue()
	if f.GetExecutorID() == nil {
		return scheduler.AgentLost{Agent: agent}
	}
	return scheduler.ExecutorLost{Agent: agent, Executor: f.GetExecutorID().GetValue(), Status: int(f.GetStatus())}
}

func inverseOf(o *mesos.InverseOffer) scheduler.InverseOffered {
	return scheduler.InverseOffered{
		ID:    o.OfferID.Value,
		Agent: o.GetAgentID().GetValue(),
		Away:  awayOf(&o.Unavailability),
	}
}

func awayOf(u *mesos.Unavailability) jobs.Unavailability {
	return jobs.Unavailability{
		Start:    time.Unix(0, u.Start.Nanoseconds).UTC(),
		Duration: time.Duration(u.GetDuration().GetNanoseconds()),
	}
}

func updateOf(s *mesos.TaskStatus) jobs.Update {
	u := jobs.Update{
		Task:      jobs.TaskID(s.TaskID.Value),
		State:     s.GetState().String(),
		Message:   s.GetMessage(),
		Agent:     s.GetAgentID().GetValue(),
		Executor:  s.GetExecutorID().GetValue(),
		UUID:      s.UUID,
		Data:      s.Data,
		Timestamp: timeOf(s.GetTimestamp()),
	}
	if s.Source != nil {
		u.Source = s.Source.String()
	}
	if s.Reason != nil {
		u.Reason = s.Reason.String()
	}
	if s.Healthy != nil {
		healthy := *s.Healthy
		u.Healthy = &healthy
	}
	return u
}

// timeOf reads Mesos's seconds since 1970, whose fraction is good to a microsecond.
func timeOf(seconds float64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(math.Round(part*1e6))*1000).UTC()
}
