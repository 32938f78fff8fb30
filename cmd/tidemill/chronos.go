package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"tidemill/api/chronos"
	"tidemill/internal/client"
	"tidemill/internal/rest"
	"tidemill/jobs"
)

type importCmd struct {
	Chronos importChronos `cmd:"" help:"Take over the jobs of a running Chronos, or of its saved \"GET jobs\"."`
}

type exportCmd struct {
	Chronos exportChronos `cmd:"" help:"Print the command jobs as Chronos answers to \"GET jobs\"."`
}

type importChronos struct {
	Source string   `arg:"" placeholder:"URL|FILE|-" help:"Address of a Chronos, as http://chronos:4400, a file, or - for standard input."`
	DryRun bool     `help:"Only say what would be done."`
	Paused bool     `help:"Leave all of them paused, for Chronos runs them still."`
	Drop   []string `placeholder:"FIELD" help:"Take jobs with this field over without heeding it: executor, container, fetch or runAsUser. May be repeated."`
	User   string   `default:"root" help:"User that Chronos ran as: a job whose runAsUser it is runs as the scheduler's own."`
}

// imported is what becomes of one job.
type imported struct {
	Name    string   `json:"name"`
	Result  string   `json:"result"` // created, replaced, unchanged, refused or, of a dry run, valid
	Changes []string `json:"changes,omitempty"`

	job jobs.Job
}

// Run takes the jobs over, if nothing is wrong with any of them.
func (c *importChronos) Run(ctx context.Context, g *globals, out console) error {
	for _, field := range c.Drop {
		if !slices.Contains(chronos.Droppable(), field) {
			return &exitError{Code: exitUsage, Err: fmt.Errorf("%q cannot be dropped; these can: %s", field, strings.Join(chronos.Droppable(), ", "))}
		}
	}
	doc, err := c.read(ctx, out.In)
	if err != nil {
		return err
	}
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	stored, err := everyJob(ctx, api)
	var unreachable *client.UnreachableError
	if c.DryRun && errors.As(err, &unreachable) {
		fmt.Fprintf(out.Err, "no scheduler answers at %s: the jobs are compared with none\n", g.API)
	} else if err != nil {
		return err
	}
	list, refused, err := c.translate(doc, stored)
	if err != nil {
		return err
	}
	if refused == 0 && !c.DryRun {
		err = apply(ctx, api, list)
	}
	if err := errors.Join(err, g.print(out, list, func(w io.Writer) { importRows(w, list) })); err != nil {
		return err
	}
	if refused > 0 {
		return &exitError{Code: exitUsage, Err: fmt.Errorf("%d of %d jobs are refused, and none was taken over (mend them in a file, or see --drop)", refused, len(list))}
	}
	if !c.DryRun && !c.Paused {
		fmt.Fprintln(out.Err, "the jobs run here from now on: stop Chronos; their counters begin anew")
	}
	return nil
}

func importRows(w io.Writer, list []*imported) {
	row(w, "NAME", "WHEN", "RESULT", "CHANGES")
	for _, i := range list {
		row(w, i.Name, when(i.job), i.Result, strings.Join(i.Changes, "; "))
	}
}

// maxImport bounds what is read of a Chronos, or of its file.
const maxImport = 256 << 20

func (c *importChronos) read(ctx context.Context, in io.Reader) ([]byte, error) {
	if strings.HasPrefix(c.Source, "http://") || strings.HasPrefix(c.Source, "https://") {
		return fetchJobs(ctx, c.Source)
	}
	if c.Source != "-" {
		file, err := os.Open(c.Source)
		if err != nil {
			return nil, &exitError{Code: exitUsage, Err: fmt.Errorf("read Chronos's jobs: %w (name a file with its answer to \"GET jobs\", or its address like http://chronos:4400)", err)}
		}
		defer file.Close()
		in = file
	}
	return io.ReadAll(io.LimitReader(in, maxImport))
}

// fetchJobs asks a Chronos for its jobs: one of 3.x, or else of 2.x.
func fetchJobs(ctx context.Context, base string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	u, err := url.Parse(base)
	if err != nil {
		return nil, &exitError{Code: exitUsage, Err: err}
	}
	var status string
	for _, path := range []string{"v1/scheduler/jobs", "scheduler/jobs"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.JoinPath(path).String(), http.NoBody)
		if err != nil {
			return nil, err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, fmt.Errorf("ask Chronos for its jobs: %w", err)
		}
		doc, err := io.ReadAll(io.LimitReader(res.Body, maxImport))
		_ = res.Body.Close()
		if err == nil && res.StatusCode == http.StatusOK {
			return doc, nil
		}
		status = errors.Join(fmt.Errorf("it answered %s", res.Status), err).Error()
		if res.StatusCode != http.StatusNotFound {
			break
		}
	}
	return nil, fmt.Errorf("ask Chronos at %s for its jobs: %s", u.Redacted(), status)
}

// translate gives all jobs, parents before children, and how many are refused.
func (c *importChronos) translate(doc []byte, stored map[jobs.Name]jobs.JobView) (list []*imported, refused int, err error) {
	known, err := kinds()
	if err != nil {
		return nil, 0, err
	}
	docs, err := chronos.DecodeList(doc)
	if err != nil {
		return nil, 0, err
	}
	byName := map[jobs.Name]*imported{}
	var order []jobs.Job
	for n, doc := range docs {
		i := c.one(doc, stored, known)
		if i.job.Name == "" || byName[i.job.Name] != nil {
			if i.job.Name != "" {
				i.refuse(errors.New("another job has the same name"))
			}
			i.job.Name = jobs.Name(fmt.Sprintf("%s[%d]", i.Name, n)) // no name has brackets
		}
		i.Name = string(i.job.Name)
		byName[i.job.Name] = i
		order = append(order, i.job)
	}
	for _, j := range jobs.Ordered(order) {
		i := byName[j.Name]
		for _, p := range j.After {
			if _, here := stored[p]; !here && byName[p] == nil {
				i.refuse(fmt.Errorf("parents: no job is named %q; Chronos would have dropped this one", p))
			}
		}
		if i.Result == resultRefused {
			refused++
		}
		list = append(list, i)
	}
	return list, refused, nil
}

const resultRefused = "refused"

func (i *imported) refuse(err error) *imported {
	if i.Result != resultRefused {
		i.Changes = nil
	}
	i.Result, i.Changes = resultRefused, append(i.Changes, err.Error())
	return i
}

// one translates a job; what it lists as changes of a refused one is what is wrong.
func (c *importChronos) one(doc json.RawMessage, stored map[jobs.Name]jobs.JobView, known *jobs.Registry) *imported {
	source, err := chronos.Decode(doc)
	i := &imported{Name: source.Name, Result: "valid"}
	if err != nil {
		return i.refuse(err)
	}
	var old *jobs.JobView
	if v, ok := stored[jobs.Name(source.Name)]; ok {
		if old = &v; v.Kind != chronos.Kind {
			return i.refuse(fmt.Errorf("a job of that name is here, of the kind %s", v.Kind))
		}
	}
	i.job, i.Changes, err = chronos.Translation{User: c.User, Drop: c.Drop}.Job(source, old)
	if err == nil {
		i.job, _, err = known.Check(i.job)
	}
	if err != nil {
		return i.refuse(err)
	}
	if unknown := chronos.Unknown(doc); len(unknown) > 0 {
		i.Changes = append(i.Changes, "ignored: "+strings.Join(unknown, ", "))
	}
	i.job.Paused = i.job.Paused || c.Paused
	return i
}

// apply sends the jobs in as few requests as their size allows: in each all
// of them or none, and the parents first.
func apply(ctx context.Context, api *client.Client, list []*imported) error {
	for len(list) > 0 {
		var batch []jobs.Job
		for size := 0; len(batch) < len(list); {
			doc, err := json.Marshal(list[len(batch)].job)
			if err != nil {
				return err
			}
			if size += len(doc) + 1; size > rest.MaxJobsBody-1024 && len(batch) > 0 {
				break
			}
			batch = append(batch, list[len(batch)].job)
		}
		applied, err := api.Apply(ctx, batch)
		if err != nil {
			return err
		}
		for n, j := range applied {
			list[n].Result = string(j.Applied)
		}
		list = list[len(batch):]
	}
	return nil
}

// everyJob lists all jobs by name, page by page.
func everyJob(ctx context.Context, api *client.Client) (map[jobs.Name]jobs.JobView, error) {
	all := map[jobs.Name]jobs.JobView{}
	for offset := 0; ; {
		list, total, err := api.Jobs(ctx, jobs.JobQuery{Limit: rest.MaxPage, Offset: offset})
		if err != nil {
			return nil, err
		}
		for _, v := range list {
			all[v.Name] = v
		}
		if offset += len(list); len(list) == 0 || offset >= total {
			return all, nil
		}
	}
}

type exportChronos struct{}

// Run prints the jobs on one line, as Chronos does.
func (*exportChronos) Run(ctx context.Context, g *globals, out console) error {
	api, err := g.client()
	if err != nil {
		return err
	}
	defer api.Close()
	all, err := everyJob(ctx, api)
	if err != nil {
		return err
	}
	list := []chronos.Job{}
	others := 0
	for _, v := range all {
		if v.Kind != chronos.Kind {
			others++
			continue
		}
		list = append(list, chronos.FromView(v))
	}
	slices.SortFunc(list, func(a, b chronos.Job) int { return strings.Compare(a.Name, b.Name) })
	if others > 0 {
		fmt.Fprintf(out.Err, "%d %s of kinds that Chronos has not are left out\n", others, plural(others, "job"))
	}
	e := json.NewEncoder(out.Out)
	e.SetEscapeHTML(false)
	return e.Encode(list)
}
