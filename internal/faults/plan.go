package faults

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"tidemill/jobs"
	"tidemill/jobs/schedule"
)

// slack is what Jepsen's test of Chronos allowed beyond epsilon.
const slack = 5 * time.Second

// workload is the jobs of a pass and what they are to do.
type workload struct {
	jobs    []jobs.Job
	targets []Target
}

// drawWorkload draws jobs as Jepsen's test of Chronos did: each starts within the first interval, runs for up to
// 9 s, may start up to epsilon late, and its instants lie so far apart that no run reaches the next.
// Every fifth has a child. command is what a task is to run, before its duration.
func drawWorkload(rng *rand.Rand, p Pass, begin, end time.Time, count int, command []string) (*workload, error) {
	w := &workload{}
	for i := range count {
		t := Target{
			Job:      jobs.Name(fmt.Sprintf("job-%02d", i+1)),
			Duration: time.Duration(rng.IntN(10)) * time.Second,
			Epsilon:  time.Duration(10+rng.IntN(20)) * time.Second,
		}
		interval := time.Second + t.Duration + t.Epsilon + slack + time.Duration(rng.IntN(30))*time.Second
		t.At = begin.Add(10*time.Second + time.Duration(rng.IntN(30))*time.Second).Truncate(time.Second)
		first := t.At
		times := 0
		for ; t.At.Before(end); t.At = t.At.Add(interval) {
			w.targets = append(w.targets, t)
			times++
		}
		job, err := t.job(p.Policy, command)
		if err != nil {
			return nil, err
		}
		repeat := fmt.Sprintf("R%d/%s/PT%dS", times, first.UTC().Format(time.RFC3339), int(interval.Seconds()))
		job.Schedule = &jobs.Schedule{Spec: schedule.Spec{Repeat: repeat}}
		job.StartDeadline = jobs.Duration(t.Epsilon + slack)
		w.jobs = append(w.jobs, job)
		if i%5 != 4 {
			continue
		}
		child := Target{Job: t.Job + "-child", Parent: t.Job, Duration: time.Duration(rng.IntN(4)) * time.Second}
		if job, err = child.job(p.Policy, command); err != nil {
			return nil, err
		}
		job.After = []jobs.Name{t.Job}
		w.jobs, w.targets = append(w.jobs, job), append(w.targets, child)
	}
	return w, nil
}

// job is the target's job. Its runs wait for one another, so that what is late is not skipped for
// the sake of what is later still.
func (t *Target) job(policy jobs.OnUnknown, command []string) (jobs.Job, error) {
	spec, err := json.Marshal(map[string]any{"argv": append(command[:len(command):len(command)], t.Duration.String())})
	if err != nil {
		return jobs.Job{}, err
	}
	j := jobs.Job{
		Name: t.Job, Kind: "command", Spec: spec, Overlap: jobs.OverlapBufferAll, OnUnknown: policy,
		Retry:     jobs.Retry{Attempts: 5, Backoff: jobs.Duration(500 * time.Millisecond), Max: jobs.Duration(2 * time.Second)},
		Resources: jobs.Resources{CPUs: 0.01, Mem: 16},
	}
	if policy == jobs.UnknownRetry {
		j.UnknownWait = new(jobs.Duration)
	}
	return j, nil
}
