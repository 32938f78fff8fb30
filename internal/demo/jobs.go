package demo

import (
	"context"
	"fmt"
	"io/fs"

	files "tidemill/deploy/demo"
	"tidemill/internal/jobfile"
	"tidemill/jobs"
)

// applyJobs applies the files of deploy/demo, and waits for the services.
func (d *demo) applyJobs(ctx context.Context) error {
	list, err := d.jobs()
	if err != nil {
		return err
	}
	if err := d.api.apply(ctx, list); err != nil {
		return err
	}
	for _, j := range list {
		d.screen.say("%s: %s", j.Name, j.Description)
	}
	for _, name := range []jobs.Name{door, writer} {
		err := d.await(ctx, "the instances of "+string(name), patience, func(ctx context.Context) (bool, string, error) {
			v, running, err := d.service(ctx, name)
			return err == nil && len(running) == 2, progressOf(v), err
		})
		if err != nil {
			return err
		}
	}
	v, err := d.api.job(ctx, door)
	for _, e := range v.Endpoints {
		d.screen.say("events are taken at %s/v1/events", e.URL)
	}
	return err
}

// jobs reads the jobs' files, under the names of this run.
func (d *demo) jobs() ([]jobs.Job, error) {
	names, err := fs.Glob(files.Files, "*.yaml")
	if err != nil {
		return nil, err
	}
	own := d.replacer()
	var sources []jobfile.Source
	for _, name := range names {
		text, err := fs.ReadFile(files.Files, name)
		if err != nil {
			return nil, err
		}
		sources = append(sources, jobfile.Source{Name: "deploy/demo/" + name, Data: []byte(own.Replace(string(text)))})
	}
	list, _, err := jobfile.Load(sources, d.Kinds)
	if err != nil {
		return nil, fmt.Errorf("read the demo's jobs: %w", err)
	}
	return list, nil
}

// service gives a service's run and the attempts of it that run now.
func (d *demo) service(ctx context.Context, name jobs.Name) (v jobs.RunView, running []jobs.TaskView, err error) {
	list, err := d.api.runs(ctx, jobs.RunQuery{Job: name, Live: true, Limit: 1})
	if err != nil || len(list) == 0 {
		return v, nil, err
	}
	if v, err = d.api.run(ctx, list[0].ID); err != nil {
		return v, nil, err
	}
	for _, t := range v.Tasks {
		if t.State == jobs.AttemptRunning && !t.Superseded {
			running = append(running, t)
		}
	}
	return v, running, nil
}
