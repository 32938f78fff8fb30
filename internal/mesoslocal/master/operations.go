package master

import (
	"fmt"
	"maps"
	"slices"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"tidemill/internal/mesoslocal/resources"
	"tidemill/internal/mesoslocal/wire"
)

// operation is one with feedback: its framework named it, and has not acknowledged its
// end yet.
type operation struct {
	id    string
	agent string
	uuid  []byte // of the status that was sent last
	state mesos.OperationState
}

// operate performs an operation on the offered resources other than a launch: they, and
// with them those of the agent, become others.
func (l *launcher) operate(op *mesos.Offer_Operation) {
	conversion, err := l.conversion(op)
	if err == nil {
		var fits bool
		if l.free, fits = l.free.Convert(conversion); !fits {
			err = fmt.Errorf("%s does not contain %s", resources.Text(l.free.Mesos(l.role)), resources.Text(conversion.From))
		}
	}
	if err != nil {
		l.m.log.Warn().Err(err).Str("operation", op.Type.String()).Msg("an operation was dropped")
		if op.ID != nil {
			l.m.sendOperation(l.framework, mesos.OperationStatus{
				OperationID: op.ID, State: mesos.OPERATION_ERROR, Message: new(err.Error())})
		}
		return
	}
	order := &wire.Operation{FrameworkID: l.framework.id, ID: op.ID.GetValue()}
	if order.ID != "" {
		l.framework.operations[order.ID] = &operation{id: order.ID, agent: l.agent.id, state: mesos.OPERATION_PENDING}
	}
	l.m.convert(l.agent, conversion, order)
}

// conversion checks an operation and tells what it makes of which resources.
func (l *launcher) conversion(op *mesos.Offer_Operation) (resources.Conversion, error) {
	var list []mesos.Resource
	var convert func([]mesos.Resource) resources.Conversion
	switch op.Type {
	case mesos.Offer_Operation_RESERVE:
		list, convert = op.GetReserve().GetResources(), resources.Reserve
	case mesos.Offer_Operation_UNRESERVE:
		list, convert = op.GetUnreserve().GetResources(), resources.Unreserve
	case mesos.Offer_Operation_CREATE:
		list, convert = op.GetCreate().GetVolumes(), resources.Create
	case mesos.Offer_Operation_DESTROY:
		list, convert = op.GetDestroy().GetVolumes(), resources.Destroy
	default:
		return resources.Conversion{}, fmt.Errorf("Operation %s is not supported by the local Mesos", op.Type)
	}
	resources.Allocate(list, l.role)
	if op.Type == mesos.Offer_Operation_RESERVE {
		for _, resource := range list {
			if err := l.validateReservation(resource); err != nil {
				return resources.Conversion{}, fmt.Errorf("%w; on agent %s at slave(1)@%s (%s)",
					err, l.agent.id, l.agent.endpoint, l.agent.info.Hostname)
			}
		}
	}
	return convert(list), validateVolumes(op.GetCreate().GetVolumes())
}

func (l *launcher) validateReservation(resource mesos.Resource) error {
	role, principal := resources.ReservedFor(resource), l.framework.info.GetPrincipal()
	if role != l.role {
		return fmt.Errorf("A reserve operation was attempted for a resource with role '%s', but the resource was allocated to role '%s'",
			role, l.role)
	}
	named := resource.GetReservation().GetPrincipal()
	if stack := resource.Reservations; len(stack) > 0 {
		named = stack[len(stack)-1].GetPrincipal()
	}
	if principal != "" && named != principal {
		return fmt.Errorf("A reserve operation was attempted by authenticated principal '%s', "+
			"which does not match a reserved resource in the request with principal '%s'", principal, named)
	}
	return nil
}

func validateVolumes(list []mesos.Resource) error {
	for _, volume := range list {
		switch {
		case volume.Disk.GetPersistence() == nil:
			return fmt.Errorf("Not a persistent volume: %s", resources.Text([]mesos.Resource{volume}))
		case resources.ReservedFor(volume) == "*":
			return fmt.Errorf("Resource %s is not reserved", resources.Text([]mesos.Resource{volume}))
		case volume.Disk.Volume == nil:
			return fmt.Errorf("Expecting 'volume' to be set for persistent volume")
		}
		if err := validateID(volume.Disk.Persistence.ID); err != nil {
			return err
		}
	}
	return nil
}

// convert changes an agent's resources, here and there.
func (m *Master) convert(a *agent, conversion resources.Conversion, order *wire.Operation) {
	total, fits := a.total.Convert(conversion)
	if !fits {
		return // its callers have taken what is converted from the agent
	}
	a.total = total
	order.From, order.To = wire.Resources(conversion.From), wire.Resources(conversion.To)
	a.send(wire.ToAgent{Operation: order})
}

// convertByOperator performs an operator's operation: offers are rescinded until what is
// free suffices.
func (m *Master) convertByOperator(a *agent, conversion resources.Conversion) *wire.Fault {
	from := resources.Of(conversion.From)
	for _, o := range a.offers {
		if a.total.Minus(a.used).Contains(from) {
			break
		}
		m.rescind(o)
		o.framework.refuse(o.role, a.id, o.amount, m.filterUntil(nil))
	}
	if free := a.total.Minus(a.used); !free.Contains(from) {
		return wire.Faultf(409, "Invalid operation: %s does not contain %s", free, resources.Text(conversion.From))
	}
	m.convert(a, conversion, &wire.Operation{})
	return nil
}

func (m *Master) sendOperation(f *framework, status mesos.OperationStatus) {
	f.send(&scheduler.Event{Type: scheduler.Event_UPDATE_OPERATION_STATUS,
		UpdateOperationStatus: &scheduler.Event_UpdateOperationStatus{Status: status}})
}

// operationUpdated forwards the end of an operation.
func (m *Master) operationUpdated(a *agent, done *wire.OperationDone) {
	f := m.frameworks[done.FrameworkID]
	if f == nil {
		return
	}
	f.operations[done.ID] = &operation{id: done.ID, agent: a.id, uuid: done.UUID, state: mesos.OPERATION_FINISHED}
	m.sendOperation(f, mesos.OperationStatus{
		OperationID: &mesos.OperationID{Value: done.ID}, State: mesos.OPERATION_FINISHED,
		UUID: &mesos.UUID{Value: done.UUID}, AgentID: &mesos.AgentID{Value: a.id},
	})
}

func (m *Master) acknowledgeOperation(f *framework, ack *scheduler.Call_AcknowledgeOperationStatus) {
	op := f.operations[ack.OperationID.Value]
	if op == nil || string(op.uuid) != string(ack.UUID) {
		return
	}
	delete(f.operations, op.id)
	if a := m.agents[op.agent]; a != nil {
		a.send(wire.ToAgent{OperationKnown: &wire.OperationDone{FrameworkID: f.id, ID: op.id, UUID: op.uuid}})
	}
}

func (m *Master) reconcileOperations(f *framework, asked []scheduler.Call_ReconcileOperations_Operation) {
	ids := slices.Sorted(maps.Keys(f.operations))
	if len(asked) > 0 {
		ids = nil
		for _, one := range asked {
			ids = append(ids, one.OperationID.Value)
		}
	}
	for _, id := range ids {
		status := mesos.OperationStatus{
			OperationID: &mesos.OperationID{Value: id}, State: mesos.OPERATION_UNKNOWN,
			Message: new("Reconciliation: Operation is unknown")}
		if op := f.operations[id]; op != nil {
			status.State, status.Message, status.AgentID = op.state, nil, &mesos.AgentID{Value: op.agent}
		}
		m.sendOperation(f, status)
	}
}
