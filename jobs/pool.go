package jobs

// Pool is a number of slots that the tasks of several jobs share: so many
// readers of one cluster, so many licences.
type Pool struct {
	Name        Name   `json:"name"`
	Slots       int    `json:"slots"`
	Description string `json:"description,omitempty"`
}

// PoolUse is the pool that a job's tasks take slots of, and how many each takes.
type PoolUse struct {
	Name  Name `json:"name,omitempty"`
	Slots int  `json:"slots,omitempty"` // default 1
}

// Bounds of what limits say.
const (
	MaxSlots    = 1_000_000
	MaxPriority = 1000
)

// Validate finds everything that is wrong with a pool.
func (p Pool) Validate() error {
	var e FieldErrors
	if p.Name == "" {
		e.Addf("name", "a pool needs a name")
	} else if err := CheckName(p.Name); err != nil {
		e.Addf("name", "%v", err)
	}
	e.Within("slots", int64(p.Slots), 1, MaxSlots)
	if len(p.Description) > maxDescription {
		e.Addf("description", "it has %d bytes; at most %d are kept", len(p.Description), maxDescription)
	}
	return e.Err()
}

const maxDescription = 1000

// PoolView is a pool with who holds its slots now.
type PoolView struct {
	Pool
	Used    int          `json:"used"`
	Waiting int          `json:"waiting"` // tasks that are ready and take slots of it
	Holders []PoolHolder `json:"holders,omitempty"`
}

// PoolHolder is how many of a pool's slots a job's tasks hold.
type PoolHolder struct {
	Job   Name `json:"job"`
	Slots int  `json:"slots"`
}
