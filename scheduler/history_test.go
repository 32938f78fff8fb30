package scheduler

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"tidemill/jobs"
)

// past is a history that a script writes to, while it is there.
type past struct {
	*script
	written []jobs.RunID
	views   map[jobs.RunID]jobs.RunView // what was written
	away    error
}

// newPast is a core with a history, that keeps two runs of a job in the store
// and lets so many wait.
func newPast(t *testing.T, backlog int) *past {
	t.Helper()
	p := &past{script: newScript(t, scheduled("* * * * *", jobs.CatchUp{})), views: map[jobs.RunID]jobs.RunView{}}
	p.cfg.History, p.cfg.HistoryBacklog = 2, backlog
	p.failover()
	return p
}

// due lets a minute pass, and launches the run that is due.
func (p *past) due() jobs.TaskID {
	p.t.Helper()
	p.now = p.now.Truncate(time.Minute).Add(time.Minute)
	p.step(Tick{})
	return p.launchOne("a")
}

// finish lets a minute pass, in which a run comes and goes, and gives its id.
func (p *past) finish() jobs.RunID {
	p.t.Helper()
	task := p.due()
	id := p.core.tasks[task].rec.Run
	p.executorSays(task, jobs.TaskFinished)
	p.hand()
	return id
}

// hand writes what the core asked for, and tells it, until it asks no more.
func (p *past) hand() {
	p.t.Helper()
	for len(p.script.past) > 0 {
		done := Recorded{Err: p.away}
		for _, v := range p.script.past {
			if len(v.Tasks) != 1 || v.Splits.Done != 1 || v.Ended.IsZero() {
				p.t.Errorf("run %s goes to history as %+v", v.ID, v)
			}
			done.Runs = append(done.Runs, v.ID)
			if p.away == nil {
				p.written = append(p.written, v.ID)
				p.views[v.ID] = v
			}
		}
		p.script.past = nil
		p.step(done)
	}
}

// finishAll is several of finish.
func (p *past) finishAll(n int) (ids []jobs.RunID) {
	p.t.Helper()
	for range n {
		ids = append(ids, p.finish())
	}
	return ids
}

// later lets time pass, and writes what is asked for then.
func (p *past) later(d time.Duration) {
	p.t.Helper()
	p.now = p.now.Add(d)
	p.step(Tick{})
	p.hand()
}

// takeOver has another leader find what is stored; it writes nothing yet.
func (p *past) takeOver() {
	p.script.past = nil
	p.failover()
}

// stored are the runs whose records the store holds, oldest first.
func (p *past) stored() []jobs.RunID {
	var list []jobs.RunID
	for key := range p.store {
		if id, ok := strings.CutPrefix(key, keyRun); ok {
			list = append(list, jobs.RunID(id))
		}
	}
	slices.Sort(list)
	return list
}

func (p *past) must(do any) {
	p.t.Helper()
	if _, err := p.ask(do); err != nil {
		p.t.Fatal(err)
	}
}

func (p *past) want(what string, got, want []jobs.RunID) {
	p.t.Helper()
	if !slices.Equal(got, want) {
		p.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestRunsGoToHistoryInTheirOrder(t *testing.T) {
	p := newPast(t, 100)
	ids := p.finishAll(5)
	p.want("written", p.written, ids[:3])
	p.want("stored", p.stored(), ids[3:])
	if n := p.core.Status().HistoryBacklog; n != 0 {
		t.Errorf("backlog %d", n)
	}
}

// While history is away the store holds them, whoever leads, and shows them;
// they are written when it is back.
func TestHistoryAway(t *testing.T) {
	p := newPast(t, 100)
	p.away = errors.New("no node answers")
	ids := p.finishAll(5)
	p.want("stored", p.stored(), ids)
	if s := p.core.Status(); s.HistoryBacklog != 3 || len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "no node answers") {
		t.Errorf("status %+v", s)
	}
	page, err := p.core.Runs(jobs.RunQuery{Job: "j"})
	if err != nil || page.Total != 5 || page.Runs[4].ID != ids[0] {
		t.Errorf("listed %+v, %v", page, err)
	}
	if v, err := p.core.RunView(ids[0]); err != nil || len(v.Tasks) != 1 {
		t.Errorf("shown %+v, %v", v, err)
	}
	p.takeOver()
	if n := p.core.Status().HistoryBacklog; n != 3 {
		t.Fatalf("the next leader finds %d that wait", n)
	}
	p.hand()
	p.away = nil
	p.later(historyPause - 1)
	p.want("written too soon", p.written, nil)
	p.later(1)
	p.want("written", p.written, ids[:3])
	p.want("stored", p.stored(), ids[3:])
	if s := p.core.Status(); s.HistoryBacklog != 0 || len(s.Problems) != 0 {
		t.Errorf("status %+v", s)
	}
}

// The pauses between tries grow, up to a bound, and Wake knows them.
func TestHistoryIsTriedAgain(t *testing.T) {
	p := newPast(t, 100)
	p.must(PauseJob{Name: "j", Paused: true})
	for i := range 3 {
		id := p.start("j", string(rune('a'+i)))
		p.executorSays(p.launchOne("a"), jobs.TaskFinished)
		p.wantRun(id, jobs.RunSucceeded)
	}
	p.now = p.now.Add(requestMemory)
	p.cfg.ExecutorIdle = 1000 * time.Hour
	p.takeOver()
	for _, seconds := range []int{1, 2, 4, 8, 16, 32, 60, 60, 60} {
		pause := time.Duration(seconds) * time.Second
		if len(p.script.past) != 1 {
			t.Fatalf("%d runs are to be written", len(p.script.past))
		}
		p.script.past = nil
		fx := p.step(Recorded{Runs: []jobs.RunID{"any"}, Err: errors.New("no node answers")})
		if want := p.now.Add(pause); fx.Wake.After(want) {
			t.Errorf("woken at %s, want %s", fx.Wake, want)
		}
		p.now = p.now.Add(pause - 1)
		if p.step(Tick{}); len(p.script.past) > 0 {
			t.Fatalf("tried again before %s", pause)
		}
		p.now = p.now.Add(1)
		p.step(Tick{})
	}
}

// Beyond the bound the oldest are dropped, and it is said.
func TestHistoryBacklogIsBounded(t *testing.T) {
	p := newPast(t, 3)
	p.away = errors.New("no node answers")
	ids := p.finishAll(8)
	p.want("stored", p.stored(), ids[3:])
	s := p.core.Status()
	if s.HistoryBacklog != 3 || s.HistoryDropped != 3 || len(s.Problems) != 1 {
		t.Errorf("status %+v", s)
	}
	p.away = nil
	p.later(historyRest)
	p.want("written", p.written, ids[3:6])
}

// What is dropped while it is being written is gone; that it was written
// after all harms nothing.
func TestDroppedWhileWritten(t *testing.T) {
	p := newPast(t, 1)
	ids := p.finishAll(2)
	p.executorSays(p.due(), jobs.TaskFinished) // ids[0] is being written
	p.executorSays(p.due(), jobs.TaskFinished) // and dropped
	if s := p.core.Status(); len(p.script.past) != 1 || p.script.past[0].ID != ids[0] || s.HistoryDropped != 1 {
		t.Fatalf("%d are being written, status %+v", len(p.script.past), s)
	}
	p.script.past = nil
	p.step(Recorded{Runs: ids[:1]})
	p.hand()
	p.want("written", p.written, ids[1:])
	if n := p.core.Status().HistoryBacklog; n != 0 || len(p.stored()) != 2 {
		t.Errorf("backlog %d, stored %v", n, p.stored())
	}
}

// A deleted job's runs go to history too, across failovers, and are not taken
// for those of a new job of its name.
func TestDeletedJobsRunsGoToHistory(t *testing.T) {
	p := newPast(t, 100)
	p.away = errors.New("no node answers")
	ids := p.finishAll(2)
	p.must(DeleteJob{Name: "j"})
	p.want("stored", p.stored(), ids)
	p.must(ApplyJobs{Jobs: []jobs.Job{scheduled("* * * * *", jobs.CatchUp{})}})
	p.takeOver()
	if j := p.core.jobs["j"]; len(j.recent) != 0 || p.core.Status().HistoryBacklog != 2 {
		t.Errorf("%d runs of the new job, %d in the backlog", len(j.recent), p.core.Status().HistoryBacklog)
	}
	p.away = nil
	p.hand()
	p.want("written", p.written, ids)
	p.want("stored", p.stored(), nil)
}

// A run asked for again by the same request is found, though it is about to leave.
func TestRequestOfALeavingRun(t *testing.T) {
	p := newPast(t, 100)
	p.away = errors.New("no node answers")
	id := p.start("j", "once")
	p.executorSays(p.launchOne("a"), jobs.TaskFinished)
	p.now = p.now.Add(requestMemory)
	p.finishAll(3)
	if _, ok := p.core.leaving.runs[id]; !ok {
		t.Fatal("it does not leave")
	}
	if again := p.start("j", "once"); again != id || len(p.core.jobs["j"].live) > 0 {
		t.Errorf("another run: %s", again)
	}
}

// Without a history they are forgotten, and so are those that one was to have.
func TestNoHistory(t *testing.T) {
	p := newPast(t, 100)
	p.away = errors.New("no node answers")
	ids := p.finishAll(4)
	p.cfg.HistoryBacklog = 0
	p.takeOver()
	p.want("stored", p.stored(), ids[2:])
}

// A run that was marked after its end says when: it is written over what
// another leader may have written of it.
func TestMarkedRunsAreStamped(t *testing.T) {
	p := newPast(t, 100)
	id := p.finish()
	p.now = p.now.Add(time.Second)
	p.must(MarkRun{ID: id})
	p.finishAll(2)
	p.want("written", p.written, []jobs.RunID{id})
	if v := p.views[id]; v.State != jobs.RunFailed || v.Marked.Sub(v.Ended) != time.Second {
		t.Errorf("it ended at %s and was marked at %s: %s", v.Ended, v.Marked, v.State)
	}
}
