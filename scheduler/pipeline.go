package scheduler

// pipeline holds effects back until every write up to theirs is durable. It
// is the commit protocol, and pure: one batch is in flight at a time; while it
// is, the following steps' groups gather into the next (group commit).
type pipeline struct {
	sequence int64   // of the last batch made
	pieces   []Group // not in a batch yet
	flying   int     // pieces of the batch in flight
	added    int64   // pieces ever added
	durable  int64   // pieces known to be durable
	held     []heldEffects
}

type heldEffects struct {
	need int64 // pieces that must be durable
	fx   Effects
}

// add takes a step's effects. Those that rest on no write that is still open
// come back at once.
func (p *pipeline) add(fx Effects) []Effects {
	for _, g := range fx.Persist {
		pieces := cut(g)
		p.pieces = append(p.pieces, pieces...)
		p.added += int64(len(pieces))
	}
	p.held = append(p.held, heldEffects{need: p.added, fx: fx})
	return p.release()
}

// next makes the batch to commit now; none while another is in flight.
func (p *pipeline) next() (Batch, bool) {
	if p.flying > 0 || len(p.pieces) == 0 {
		return Batch{}, false
	}
	p.sequence++
	b := Batch{Sequence: p.sequence}
	at := map[string]int{} // the last write of a record is the one that counts
	size := 0
	for _, piece := range p.pieces {
		if n := sizeOf(piece); p.flying > 0 && (size+n > MaxBatchBytes || len(b.Changes)+len(piece) > MaxBatchChanges) {
			break
		} else {
			size += n
		}
		for _, ch := range piece {
			if i, ok := at[ch.Key]; ok {
				b.Changes[i] = ch
				continue
			}
			at[ch.Key] = len(b.Changes)
			b.Changes = append(b.Changes, ch)
		}
		p.flying++
	}
	return b, true
}

// committed says that the batch in flight is durable, and gives the effects
// that waited for it, in order.
func (p *pipeline) committed() []Effects {
	p.durable += int64(p.flying)
	p.pieces = append([]Group(nil), p.pieces[p.flying:]...)
	p.flying = 0
	return p.release()
}

// backlog is how many pieces wait.
func (p *pipeline) backlog() int { return len(p.pieces) }

// unsent counts what waits to be told to Mesos until its writes are durable.
func (p *pipeline) unsent() (u Unsent) {
	for _, h := range p.held {
		for _, call := range h.fx.Calls {
			u.count(call)
		}
	}
	return u
}

func (p *pipeline) release() []Effects {
	var out []Effects
	for len(p.held) > 0 && p.held[0].need <= p.durable {
		out = append(out, p.held[0].fx)
		p.held[0] = heldEffects{}
		p.held = p.held[1:]
	}
	return out
}

// recordOverhead is what a change costs in a request besides its bytes.
const recordOverhead = 200

func sizeOf(g Group) int {
	n := 0
	for _, ch := range g {
		n += len(ch.Key) + len(ch.Value) + recordOverhead
	}
	return n
}

// cut splits a group that no batch can hold, in its order.
func cut(g Group) []Group {
	if sizeOf(g) <= MaxBatchBytes && len(g) <= MaxBatchChanges {
		return []Group{g}
	}
	var out []Group
	start, size := 0, 0
	for i := range g {
		n := sizeOf(g[i : i+1])
		if i > start && (size+n > MaxBatchBytes || i-start >= MaxBatchChanges) {
			out = append(out, g[start:i])
			start, size = i, 0
		}
		size += n
	}
	return append(out, g[start:])
}
