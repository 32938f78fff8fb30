package resources

import (
	"slices"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// kindOf returns a resource without its amount and allocation, its reservations in the
// refined form, in which they are a stack.
func kindOf(resource mesos.Resource) mesos.Resource {
	return mesos.Resource{Name: resource.Name, Reservations: reservations(resource), Disk: resource.Disk}
}

// reservations returns the stack of a resource's reservations, which older frameworks
// and flags tell by a role and one reservation.
func reservations(resource mesos.Resource) []mesos.Resource_ReservationInfo {
	role := resource.GetRole()
	if len(resource.Reservations) > 0 || role == "" || role == "*" {
		return resource.Reservations
	}
	one := mesos.Resource_ReservationInfo{Type: mesos.Resource_ReservationInfo_STATIC.Enum(), Role: &role}
	if resource.Reservation != nil {
		one.Type = mesos.Resource_ReservationInfo_DYNAMIC.Enum()
		one.Principal, one.Labels = resource.Reservation.Principal, resource.Reservation.Labels
	}
	return []mesos.Resource_ReservationInfo{one}
}

// ReservedFor returns the role that a resource is reserved for, "*" for none.
func ReservedFor(resource mesos.Resource) string {
	stack := reservations(resource)
	if len(stack) == 0 {
		return "*"
	}
	return stack[len(stack)-1].GetRole()
}

// Unrefined renders resources for frameworks without the capability
// RESERVATION_REFINEMENT: a role, and the reservation where it is a dynamic one.
func Unrefined(list []mesos.Resource) []mesos.Resource {
	older := slices.Clone(list)
	for i := range older {
		role := ReservedFor(list[i])
		older[i].Role, older[i].Reservations = &role, nil
		if stack := list[i].Reservations; len(stack) > 0 && stack[0].GetType() == mesos.Resource_ReservationInfo_DYNAMIC {
			older[i].Reservation = &mesos.Resource_ReservationInfo{Principal: stack[0].Principal, Labels: stack[0].Labels}
		}
	}
	return older
}

// For returns what may be offered to a role: what is not reserved, and what is reserved
// for the role or for one above it.
func (b Bundle) For(role string) Bundle {
	return b.where(func(reserved string) bool {
		return reserved == "*" || reserved == role || strings.HasPrefix(role, reserved+"/")
	})
}

// ByReservation splits the bundle by the roles it is reserved for; "*" is the rest.
func (b Bundle) ByReservation() map[string]Bundle {
	split := map[string]Bundle{"*": {}}
	for _, one := range b.parts {
		role := ReservedFor(one.like)
		split[role] = b.where(func(reserved string) bool { return reserved == role })
	}
	return split
}

func (b Bundle) where(wanted func(role string) bool) Bundle {
	some := Bundle{parts: map[string]part{}}
	for kind, one := range b.parts {
		if wanted(ReservedFor(one.like)) {
			some.parts[kind] = one
		}
	}
	return some
}

// Conversion is what an operation does to resources: it makes one kind of another.
type Conversion struct {
	From, To []mesos.Resource
}

// Reserve reserves resources: each says by its last reservation for whom.
func Reserve(list []mesos.Resource) Conversion {
	return Conversion{From: each(list, unreserved), To: list}
}

// Unreserve takes the last reservation of each resource back.
func Unreserve(list []mesos.Resource) Conversion {
	return Conversion{From: list, To: each(list, unreserved)}
}

// Create makes persistent volumes of reserved disk.
func Create(list []mesos.Resource) Conversion {
	return Conversion{From: each(list, plain), To: list}
}

// Destroy makes plain disk of persistent volumes.
func Destroy(list []mesos.Resource) Conversion {
	return Conversion{From: list, To: each(list, plain)}
}

func each(list []mesos.Resource, change func(mesos.Resource) mesos.Resource) []mesos.Resource {
	changed := make([]mesos.Resource, len(list))
	for i := range list {
		changed[i] = change(list[i])
	}
	return changed
}

func unreserved(resource mesos.Resource) mesos.Resource {
	stack := reservations(resource)
	resource.Role, resource.Reservation = nil, nil
	resource.Reservations = slices.Clone(stack[:max(len(stack)-1, 0)])
	return resource
}

func plain(resource mesos.Resource) mesos.Resource {
	resource.Disk = nil
	return resource
}

// Convert applies a conversion; it reports false where what it is made of is not there.
func (b Bundle) Convert(c Conversion) (Bundle, bool) {
	from := Of(c.From)
	if !b.Contains(from) {
		return b, false
	}
	return b.Minus(from).Plus(Of(c.To)), true
}
