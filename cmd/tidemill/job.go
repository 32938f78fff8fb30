package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"strings"
	"time"

	"tidemill/internal/client"
	"tidemill/internal/jobfile"
	"tidemill/jobs"
)

type jobCmd struct {
	Validate  jobValidate  `cmd:"" help:"Check job files without a server."`
	Apply     jobApply     `cmd:"" help:"Create or replace the jobs in files, all or none."`
	List      jobList      `cmd:"" help:"List jobs."`
	Show      jobShow      `cmd:"" help:"Show a job; with --output yaml in a form that can be applied again."`
	Run       jobRun       `cmd:"" help:"Run a job now."`
	Next      jobNext      `cmd:"" help:"List the coming instants of a job."`
	Backfill  jobBackfill  `cmd:"" help:"Run the instants of an interval that has passed."`
	Pause     jobPause     `cmd:"" help:"Pause jobs; the instances of a service stop."`
	Resume    jobResume    `cmd:"" help:"Resume paused jobs."`
	Scale     jobScale     `cmd:"" help:"Set how many instances a service has."`
	Endpoints jobEndpoints `cmd:"" help:"Say where a service's instances listen."`
	Delete    jobDelete    `cmd:"" help:"Delete jobs; their runs are killed."`
}

// files names where jobs are read from.
type files struct {
	File []string `short:"f" required:"" placeholder:"FILE|DIR|-" help:"File, folder (with all below it), or - for standard input. May be repeated."`
}

func (f files) load(in io.Reader) ([]jobs.Job, []jobfile.Document, error) {
	var sources []jobfile.Source
	for _, path := range f.File {
		found, err := jobfile.Read(path, in)
		if err != nil {
			return nil, nil, &exitError{Code: exitUsage, Err: err}
		}
		sources = append(sources, found...)
	}
	known, err := kinds()
	if err != nil {
		return nil, nil, err
	}
	return jobfile.Load(sources, known)
}

type jobValidate struct{ files }

// Run checks the files and says what else only a scheduler can check.
func (c *jobValidate) Run(g *globals, out console) error {
	list, _, err := c.load(out.In)
	if err != nil {
		return err
	}
	if names := elsewhere(list); len(names) > 0 {
		fmt.Fprintf(out.Err, "parents in none of these files, for the scheduler to know: %s\n", strings.Join(names, ", "))
	}
	return g.print(out, list, func(w io.Writer) {
		row(w, "NAME", "KIND", "WHEN", "VALID")
		for _, j := range list {
			row(w, j.Name, j.Kind, when(j), "yes")
		}
	})
}

// elsewhere lists the parents that are not among the jobs.
func elsewhere(list []jobs.Job) []string {
	known := map[jobs.Name]bool{}
	for _, j := range list {
		known[j.Name] = true
	}
	var names []string
	for _, j := range list {
		for _, p := range j.After {
			if !known[p] {
				known[p] = true
				names = append(names, string(p))
			}
		}
	}
	return names
}

type jobApply struct{ files }

// Run applies the jobs of all files in one request.
func (c *jobApply) Run(ctx context.Context, g *globals, out console) error {
	list, docs, err := c.load(out.In)
	if err != nil {
		return err
	}
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	applied, err := api.Apply(ctx, list)
	if err != nil {
		return jobfile.LocateListed(docs, err)
	}
	return g.print(out, applied, func(w io.Writer) {
		row(w, "NAME", "KIND", "WHEN", "VERSION", "APPLIED")
		for _, j := range applied {
			row(w, j.Name, j.Kind, when(j.Job), j.Version, j.Applied)
		}
	})
}

type jobList struct {
	Search string `placeholder:"TEXT" help:"Only jobs with this text in name, owner, description or spec."`
	Kind   string `placeholder:"KIND" help:"Only jobs of this kind."`
	Limit  int    `default:"100" help:"At most so many (1 to 1000)."`
	Offset int    `default:"0" help:"Leave out the first so many."`
}

// Run lists jobs.
func (c *jobList) Run(ctx context.Context, g *globals, out console) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	list, total, err := api.Jobs(ctx, jobs.JobQuery{Search: c.Search, Kind: c.Kind, Limit: c.Limit, Offset: c.Offset})
	if err != nil {
		return err
	}
	err = g.print(out, list, func(w io.Writer) {
		row(w, "NAME", "KIND", "STATE", "WHEN", "NEXT", "LAST RUN", "ENDED")
		for _, j := range list {
			last, ended := "-", "-"
			if j.LastRun != nil {
				last, ended = string(j.LastRun.State), ago(j.LastRun.Ended)
			}
			row(w, j.Name, j.Kind, j.State, when(j.Job), until(j.Next), last, ended)
		}
	})
	if rest := total - c.Offset - len(list); err == nil && rest > 0 {
		fmt.Fprintf(out.Err, "%d more; go on with --offset %d\n", rest, c.Offset+len(list))
	}
	return err
}

type jobShow struct {
	Name string `arg:"" help:"The job's name."`
}

// Run shows a job: its document as YAML, and all that is known of it else.
func (c *jobShow) Run(ctx context.Context, g *globals, out console) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	v, err := api.Job(ctx, jobs.Name(c.Name))
	if err != nil {
		return err
	}
	if g.Output == "yaml" {
		return jobfile.Encode(out.Out, v.Job)
	}
	return g.print(out, v, func(w io.Writer) { describeJob(w, v) })
}

func describeJob(w io.Writer, v jobs.JobView) {
	row(w, "Name", v.Name)
	row(w, "Kind", v.Kind)
	row(w, "Description", v.Description)
	row(w, "State", v.State)
	row(w, "When", when(v.Job))
	row(w, "Next", until(v.Next))
	row(w, "Version", v.Version)
	row(w, "Succeeded", fmt.Sprintf("%d times, %d failed", v.Successes, v.Failures))
	if v.Held != "" {
		row(w, "Held", v.Held)
	}
	if v.LastRun != nil {
		row(w, "Last run", fmt.Sprintf("%s %s %s", v.LastRun.ID, v.LastRun.State, v.LastRun.Reason))
	}
	for _, child := range v.Children {
		row(w, "Before", child)
	}
	if n := v.Instances; n != nil {
		row(w, "Instances", fmt.Sprintf("%d of %d running, %d healthy, %d to be replaced", n.Running, n.Wanted, n.Healthy, n.Outdated))
	}
	for _, e := range v.Endpoints {
		row(w, "Listens", e.URL, portsOf(e), healthOf(e))
	}
}

type jobRun struct {
	Name      string    `arg:"" help:"The job's name."`
	Wait      bool      `help:"Wait for the end, with --children for that of the jobs after it too; show progress, and exit with the code of the task that failed."`
	Arg       []string  `sep:"none" placeholder:"TEXT" help:"Argument for the work. May be repeated."`
	RequestID string    `placeholder:"ID" help:"Asking again with the same id gives the same run (default: a new one)."`
	Nominal   time.Time `placeholder:"TIME" help:"The instant that the run is for (default now)."`
	From      time.Time `placeholder:"TIME" help:"Start of the data that the run covers."`
	To        time.Time `placeholder:"TIME" help:"End of the data that the run covers."`
	Children  bool      `help:"Its success starts the jobs after it."`
}

// Run starts a run and, where asked, waits for its end.
func (c *jobRun) Run(ctx context.Context, g *globals, out console) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	if c.RequestID == "" { // so that the request can be repeated when its answer is lost
		c.RequestID = rand.Text()
	}
	request := jobs.RunRequest{Job: jobs.Name(c.Name), RequestID: c.RequestID, Arguments: c.Arg, Nominal: c.Nominal,
		Interval: jobs.Interval{Start: c.From, End: c.To}, Children: c.Children}
	api = api.WithPatience(max(g.Patience, waitPatience))
	started, err := api.StartRun(ctx, request)
	if err != nil {
		return err
	}
	if !c.Wait {
		return g.print(out, started, func(tw io.Writer) {
			row(tw, "RUN", "STATE")
			row(tw, started.ID, started.State)
		})
	}
	w := waiter{api: api, progress: out.Err}
	v, err := w.wait(ctx, started.ID)
	if err != nil {
		return err
	}
	after, err := w.waitAfter(ctx, v.Children)
	if err != nil {
		return err
	}
	if err := g.print(out, v, func(tw io.Writer) { runRows(tw, []jobs.RunView{v}); childRows(tw, v.Children) }); err != nil {
		return err
	}
	for _, r := range append([]jobs.RunView{v}, after...) {
		if err := w.verdict(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// names are jobs to do one thing to.
type names struct {
	Name []string `arg:"" help:"The jobs' names."`
}

// each does one thing to every job and prints what became of it.
func (n names) each(g *globals, out console, done string, do func(*client.Client, jobs.Name) error) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	for _, name := range n.Name {
		if err := do(api, jobs.Name(name)); err != nil {
			return err
		}
		fmt.Fprintf(out.Err, "%s %s\n", name, done)
	}
	return nil
}

type (
	jobPause  struct{ names }
	jobResume struct{ names }
	jobDelete struct {
		names
		Cascade  bool `xor:"children" help:"Delete the jobs that come after them too."`
		Reparent bool `xor:"children" help:"Give the jobs that come after them their own parents, or their schedule."`
	}
)

// Run pauses the jobs.
func (c *jobPause) Run(ctx context.Context, g *globals, out console) error {
	return c.each(g, out, "paused", func(api *client.Client, name jobs.Name) error {
		_, err := api.SetPaused(ctx, name, true)
		return err
	})
}

// Run resumes the jobs.
func (c *jobResume) Run(ctx context.Context, g *globals, out console) error {
	return c.each(g, out, "resumed", func(api *client.Client, name jobs.Name) error {
		_, err := api.SetPaused(ctx, name, false)
		return err
	})
}

// Run deletes the jobs.
func (c *jobDelete) Run(ctx context.Context, g *globals, out console) error {
	mode := jobs.DeleteRefuse
	switch {
	case c.Cascade:
		mode = jobs.DeleteCascade
	case c.Reparent:
		mode = jobs.DeleteReparent
	}
	return c.each(g, out, "deleted", func(api *client.Client, name jobs.Name) error { return api.Delete(ctx, name, mode) })
}
