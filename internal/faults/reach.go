package faults

import (
	"maps"
	"slices"
	"time"
)

// clockLimit is the distance from ZooKeeper's clock beyond which a leader creates no runs.
const clockLimit = 30 * time.Second

// state is the cluster between two events.
type state struct {
	from    time.Time
	down    map[string]bool // killed, or not started yet
	stopped map[string]bool
	cut     map[Way]bool
	offset  map[string]time.Duration
	// strayed is a leader whose clock is beyond the limit: as long as it leads there is none.
	strayed string
}

func (s *state) clone() *state {
	return &state{
		from: s.from, strayed: s.strayed, down: maps.Clone(s.down), stopped: maps.Clone(s.stopped),
		cut: maps.Clone(s.cut), offset: maps.Clone(s.offset),
	}
}

func (s *state) apply(e Event) {
	s.from = e.At
	switch e.Kind {
	case Up:
		s.down[e.Host], s.stopped[e.Host] = false, false
	case Kill:
		s.down[e.Host] = true
		if s.strayed == e.Host {
			s.strayed = "" // it leads no more
		}
	case Stop:
		s.stopped[e.Host] = true
	case Resume:
		s.stopped[e.Host] = false
	case Cut:
		for _, way := range e.Cuts {
			s.cut[way] = true
		}
	case Heal:
		clear(s.cut)
	case Clock:
		s.offset[e.Host] = e.Offset
		switch {
		case e.Leads && e.Offset.Abs() > clockLimit:
			s.strayed = e.Host
		case s.strayed == e.Host:
			s.strayed = ""
		}
	case Strike: // takes nothing from the cluster but the work
	}
}

// whole says whether these hosts work and reach each other.
func (s *state) whole(hosts []string) bool {
	for i, a := range hosts {
		if s.down[a] || s.stopped[a] {
			return false
		}
		for _, b := range hosts[:i] {
			if s.cut[Way{a, b}] || s.cut[Way{b, a}] {
				return false
			}
		}
	}
	return true
}

// keeps says whether the scheduler may lead as far as clocks go.
func (s *state) keeps(scheduler string) bool {
	return s.strayed == "" && s.offset[scheduler].Abs() <= clockLimit
}

// timeline is the cluster's states in their order.
type timeline struct {
	states []*state
	crews  [][]string
}

// newTimeline follows the log from a cluster of which nothing runs yet.
func newTimeline(hosts []Host, events []Event) *timeline {
	at := &state{down: map[string]bool{}, stopped: map[string]bool{}, cut: map[Way]bool{}, offset: map[string]time.Duration{}}
	for _, h := range hosts {
		at.down[h.Name] = true
	}
	t := &timeline{states: []*state{at}, crews: crews(hosts)}
	sorted := slices.Clone(events)
	slices.SortStableFunc(sorted, func(a, b Event) int { return a.At.Compare(b.At) })
	for _, e := range sorted {
		at = at.clone()
		at.apply(e)
		t.states = append(t.states, at)
	}
	return t
}

// crews are all that suffice to run something: a scheduler, a master, an agent, and a majority of
// the ZooKeeper servers. The scheduler stands first.
func crews(hosts []Host) [][]string {
	of := func(role Role) (names []string) {
		for _, h := range hosts {
			if h.Role == role {
				names = append(names, h.Name)
			}
		}
		return names
	}
	quorums := majorities(of(ZooKeeper))
	var out [][]string
	for _, s := range of(Scheduler) {
		for _, m := range of(Master) {
			for _, a := range of(Agent) {
				for _, q := range quorums {
					out = append(out, append([]string{s, m, a}, q...))
				}
			}
		}
	}
	return out
}

// majorities are the smallest sets that hold more than half.
func majorities(names []string) [][]string {
	var out [][]string
	size := len(names)/2 + 1
	var pick func(from int, chosen []string)
	pick = func(from int, chosen []string) {
		if len(chosen) == size {
			out = append(out, slices.Clone(chosen))
			return
		}
		for i := from; i < len(names); i++ {
			pick(i+1, append(chosen, names[i]))
		}
	}
	if len(names) > 0 {
		pick(0, nil)
	}
	return out
}

// wholeFor says whether some crew was whole for so long without a break, between from and to.
func (t *timeline) wholeFor(d time.Duration, from, to time.Time) bool {
	return slices.ContainsFunc(t.crews, func(crew []string) bool { return t.longest(crew, from, to) >= d })
}

// longest is for how long the crew was whole at a stretch.
func (t *timeline) longest(crew []string, from, to time.Time) time.Duration {
	var best time.Duration
	var since time.Time // zero: it is not whole
	for i, s := range t.states {
		begin, end := s.from, to
		if i+1 < len(t.states) {
			end = t.states[i+1].from
		}
		if begin.Before(from) {
			begin = from
		}
		if end.After(to) {
			end = to
		}
		if !begin.Before(end) {
			continue
		}
		if !s.whole(crew) || !s.keeps(crew[0]) {
			since = time.Time{}
			continue
		}
		if since.IsZero() {
			since = begin
		}
		best = max(best, end.Sub(since))
	}
	return best
}

// offsetWithin is the largest distance of a scheduler's clock that matters between from and to. A
// clock that was ahead matters for as long again: the scheduler's time stands still until it is
// reached, since it never goes back.
func (t *timeline) offsetWithin(from, to time.Time) time.Duration {
	var most time.Duration
	for i, s := range t.states {
		for _, by := range s.offset {
			by = by.Abs()
			end := to
			if i+1 < len(t.states) {
				end = t.states[i+1].from.Add(by)
			}
			if !s.from.After(to.Add(by)) && !end.Before(from.Add(-by)) {
				most = max(most, by)
			}
		}
	}
	return most
}
