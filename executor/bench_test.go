package executor

import (
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tidemill/jobs"
	"tidemill/jobs/noop"
)

// BenchmarkWarmExecutor measures noop tasks through one warm executor, with
// its files on a real disk and an agent that answers at once; 200 are under
// way at a time.
func BenchmarkWarmExecutor(b *testing.B) {
	sandbox := b.TempDir()
	agent := newFakeAgent(sandbox)
	registry, err := jobs.NewRegistry(noop.Kind{})
	if err != nil {
		b.Fatal(err)
	}
	x := New(Options{Agent: agent, Registry: registry, Log: zerolog.Nop(), Sandbox: sandbox, Shared: true, RecoveryTimeout: time.Minute})
	ended := make(chan error, 1)
	go func() { ended <- x.Run(b.Context()) }()
	for agent.count() < 0 {
		<-agent.news
	}
	b.ResetTimer()
	launched := 0
	for done := 0; done < b.N; done = agent.count() {
		for ; launched < b.N && launched < done+200; launched++ {
			agent.launch(jobs.Assignment{Task: jobs.TaskID(fmt.Sprint("t", launched)), Kind: "noop", Stage: 1, Start: 1})
		}
		<-agent.news
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
	agent.say(Shutdown{})
	if err := <-ended; err != nil {
		b.Error(err)
	}
	for _, err := range agent.broken {
		b.Error(err)
	}
}

// count is the number of ended tasks; -1 before the subscription.
func (a *fakeAgent) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stream == nil {
		return -1
	}
	return a.ends
}
