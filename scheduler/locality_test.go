package scheduler_test

import (
	"container/heap"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// The cluster of the locality benchmark: on a part of the agents lies
// Cassandra, and a part of the slots there is always taken by others.
const (
	localityAgents    = 100
	localityCassandra = 30 // in three racks, and each split has a replica in each
	localitySlots     = 4  // an agent
	localityBusy      = localityCassandra * localitySlots * 6 / 10
	localityTask      = 10 * time.Second
	localityTick      = time.Second // Mesos's allocation_interval
)

// splitsKind is a job of the splits that its spec lists.
type splitsKind struct{ benchKind }

func (splitsKind) Name() string { return "splits" }
func (splitsKind) Check(spec json.RawMessage) (jobs.Traits, error) {
	t := jobs.Traits{Idempotent: true, Isolation: jobs.IsolationShared, Near: jobs.NearCassandra}
	return t, json.Unmarshal(spec, &t.Splits)
}

// machine is an agent of the cluster.
type machine struct {
	host, rack string
	cassandra  bool
	taken      int // slots
	refused    int // slots that were declined
	until      time.Time
}

// moment is something that will happen.
type moment struct {
	at  time.Time
	seq int
	do  func()
}

type moments []moment

func (m moments) Len() int { return len(m) }
func (m moments) Less(i, j int) bool {
	return m[i].at.Before(m[j].at) || m[i].at.Equal(m[j].at) && m[i].seq < m[j].seq
}
func (m moments) Swap(i, j int) { m[i], m[j] = m[j], m[i] }
func (m *moments) Push(x any)   { *m = append(*m, x.(moment)) }
func (m *moments) Pop() any {
	last := (*m)[len(*m)-1]
	*m = (*m)[:len(*m)-1]
	return last
}

// locality plays Mesos, the agents and time for a core.
type locality struct {
	tb         testing.TB
	core       *scheduler.Core
	random     *rand.Rand
	now        time.Time
	coming     moments
	seq        int
	machines   []*machine
	offered    map[string]*machine
	offers     int
	suppressed bool
	jobs       int
	runs       []jobs.RunID
}

func newLocality(tb testing.TB, seed uint64) *locality {
	tb.Helper()
	kinds, err := jobs.NewRegistry(splitsKind{})
	if err != nil {
		tb.Fatal(err)
	}
	config := scheduler.DefaultConfig()
	config.History = 1000
	l := &locality{
		tb: tb, core: scheduler.New(config, kinds), random: rand.New(rand.NewPCG(seed, seed)),
		now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), offered: map[string]*machine{},
	}
	for i := range localityAgents {
		l.machines = append(l.machines, &machine{host: fmt.Sprintf("host-%02d", i), rack: fmt.Sprint("r", i%3), cassandra: i < localityCassandra})
	}
	if err := l.core.Load(nil); err != nil {
		tb.Fatal(err)
	}
	l.step(scheduler.Elected{Term: 1, Secret: []byte("secret")})
	l.step(scheduler.Subscribed{Stream: 1, FrameworkID: "F", Master: "m", MasterSince: l.now})
	for range localityBusy {
		m := l.anyFree()
		m.taken++
		l.after(time.Duration(l.random.Int64N(int64(localityTask))), func() { l.endOther(m) })
	}
	l.after(localityTick, l.tick)
	return l
}

// anyFree is a Cassandra machine with a free slot, by chance.
func (l *locality) anyFree() *machine {
	for {
		if m := l.machines[l.random.IntN(localityCassandra)]; m.taken < localitySlots {
			return m
		}
	}
}

// endOther ends a task of another framework, whose next one begins elsewhere.
func (l *locality) endOther(m *machine) {
	m.taken--
	next := l.anyFree()
	next.taken++
	l.after(localityTask, func() { l.endOther(next) })
}

func (l *locality) after(d time.Duration, do func()) {
	l.seq++
	heap.Push(&l.coming, moment{l.now.Add(d), l.seq, do})
}

func (l *locality) tick() {
	l.allocate()
	l.after(localityTick, l.tick)
}

// allocate offers what is free and not refused.
func (l *locality) allocate() {
	if l.suppressed {
		return
	}
	var list []jobs.Offer
	for _, m := range l.machines {
		free := localitySlots - m.taken
		if free == 0 || (l.now.Before(m.until) && free <= m.refused) {
			continue
		}
		l.offers++
		o := jobs.Offer{
			ID: fmt.Sprint("O", l.offers), AgentID: "agent-" + m.host, Hostname: m.host, Address: m.host + ":5051",
			Resources: jobs.Resources{CPUs: float64(free), Mem: 1e6}, Attributes: map[string]string{"rack": m.rack},
		}
		if m.cassandra {
			o.Attributes["cassandra"] = "dc1"
		}
		l.offered[o.ID] = m
		list = append(list, o)
	}
	if len(list) > 0 {
		l.step(scheduler.Offered{Offers: list})
	}
}

// step lets the core decide, and does what it says.
func (l *locality) step(ev scheduler.Event) scheduler.Effects {
	fx := l.core.Step(l.now, ev)
	if at := fx.Wake; at.After(l.now) {
		l.after(at.Sub(l.now), func() { l.step(scheduler.Tick{}) })
	} else if !at.IsZero() {
		l.after(0, func() { l.step(scheduler.Tick{}) })
	}
	for _, call := range fx.Calls {
		if a, ok := call.(scheduler.Accept); ok {
			l.accept(a)
		}
	}
	for _, call := range fx.Free {
		switch call := call.(type) {
		case scheduler.Decline:
			for _, id := range call.Offers {
				m := l.offered[id]
				delete(l.offered, id)
				m.refused, m.until = localitySlots-m.taken, l.now.Add(call.Refuse)
			}
		case scheduler.Suppress:
			l.suppressed = true
		case scheduler.Revive:
			l.suppressed = false
			for _, m := range l.machines {
				m.until = time.Time{}
			}
			l.after(0, l.allocate)
		}
	}
	return fx
}

func (l *locality) accept(a scheduler.Accept) {
	m := l.offered[a.Offers[0]]
	delete(l.offered, a.Offers[0])
	l.after(0, func() { l.step(scheduler.CallAnswered{Call: a}) })
	for _, launch := range a.Launches {
		if m.taken++; m.taken > localitySlots {
			l.tb.Fatalf("%s gave more than its slots", m.host)
		}
		u := jobs.Update{Task: launch.Task, State: jobs.TaskRunning, Source: "SOURCE_EXECUTOR", Agent: launch.Agent}
		l.after(0, func() { l.step(scheduler.Updated{Update: u}) })
		l.after(localityTask, func() {
			m.taken--
			u := u
			u.State = jobs.TaskFinished
			l.step(scheduler.Updated{Update: u})
		})
	}
}

// play lets what is to come happen for so long.
func (l *locality) play(d time.Duration) {
	end := l.now.Add(d)
	for len(l.coming) > 0 && !l.coming[0].at.After(end) {
		next := heap.Pop(&l.coming).(moment)
		l.now = next.at
		next.do()
	}
	l.now = end
}

// start begins a run of so many splits, each with replicas in all racks.
func (l *locality) start(splits int) {
	l.tb.Helper()
	list := make([]jobs.Split, splits)
	for i := range list {
		list[i] = jobs.Split{Stage: 1, Racks: []string{"r0", "r1", "r2"}, DC: "dc1"}
		for rack := range 3 {
			list[i].Hosts = append(list[i].Hosts, l.machines[l.random.IntN(localityCassandra/3)*3+rack].host)
		}
	}
	spec, err := json.Marshal(list)
	if err != nil {
		l.tb.Fatal(err)
	}
	l.jobs++
	job := jobs.Job{Name: jobs.Name(fmt.Sprint("job-", l.jobs)), Kind: "splits", Spec: spec, Resources: jobs.Resources{CPUs: 1, Mem: 64}}
	if err := l.step(scheduler.Request{Do: scheduler.ApplyJobs{Jobs: []jobs.Job{job}}}).Answers[0].Err; err != nil {
		l.tb.Fatal(err)
	}
	fx := l.step(scheduler.Request{Do: scheduler.StartRun{RunRequest: jobs.RunRequest{Job: job.Name, RequestID: "1"}}})
	if err := fx.Answers[0].Err; err != nil {
		l.tb.Fatal(err)
	}
	l.runs = append(l.runs, fx.Answers[0].Value.(jobs.Run).ID)
}

// placed sums up where the splits of all runs ran, and how long they waited.
type placed struct {
	splits         int
	replica        float64 // share of the splits that ran beside a replica
	median, tail   time.Duration
	longest        time.Duration
	unfinishedRuns int
}

func (l *locality) placed() placed {
	var p placed
	var waits []time.Duration
	beside := 0
	for _, id := range l.runs {
		v, err := l.core.RunView(id)
		if err != nil {
			l.tb.Fatal(err)
		}
		if v.State != jobs.RunSucceeded {
			p.unfinishedRuns++
		}
		for _, t := range v.Tasks {
			waits = append(waits, t.Waited.D())
			if t.Locality == jobs.LocalReplica {
				beside++
			}
		}
	}
	slices.Sort(waits)
	p.splits = len(waits)
	p.replica = float64(beside) / float64(len(waits))
	p.median, p.tail, p.longest = waits[len(waits)/2], waits[len(waits)*99/100], waits[len(waits)-1]
	return p
}

// work starts a run of so many splits every so often, for ten minutes, and
// waits for the last.
func (l *locality) work(splits int, every time.Duration) placed {
	for range 10 * time.Minute / every {
		l.play(every)
		l.start(splits)
	}
	l.play(time.Minute)
	return l.placed()
}

// What is asked of the cluster: a stream has half of what the others leave
// free beside Cassandra at work all the time, a burst wants all of it at once.
func localityLoads() []localityLoad {
	free := localityCassandra*localitySlots - localityBusy
	return []localityLoad{{"stream", free / 2, localityTask, 0.95}, {"burst", free, 3 * localityTask, 0.90}}
}

type localityLoad struct {
	name   string
	splits int // of a run
	every  time.Duration
	least  float64 // share that is to run beside a replica
}

// TestLocality holds what the benchmark measures to its bounds: nearly all
// splits run beside a replica, without waiting for it, and none waits for ever.
func TestLocality(t *testing.T) {
	for _, load := range localityLoads() {
		for seed := range uint64(2) {
			p := newLocality(t, seed).work(load.splits, load.every)
			if p.replica < load.least || p.median >= time.Second || p.longest > 2*jobs.DefaultWait.D() || p.unfinishedRuns > 0 {
				t.Errorf("%s, seed %d: %+v, want a share of %g beside a replica, a median below a second and an end of all", load.name, seed, p, load.least)
			}
		}
	}
}

// BenchmarkLocality measures where splits run, in virtual time, on 100
// agents of 4 slots, of which 30 are beside Cassandra with 60 % of their
// slots taken by others; RF 3, tasks of 10 s.
func BenchmarkLocality(b *testing.B) {
	for _, load := range localityLoads() {
		b.Run(load.name, func(b *testing.B) {
			var p placed
			for seed := uint64(0); b.Loop(); seed++ {
				p = newLocality(b, seed).work(load.splits, load.every)
			}
			b.ReportMetric(100*p.replica, "%replica")
			b.ReportMetric(p.median.Seconds(), "median-s")
			b.ReportMetric(p.tail.Seconds(), "p99-s")
			b.ReportMetric(p.longest.Seconds(), "max-s")
		})
	}
}
