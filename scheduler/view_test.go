package scheduler

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"tidemill/jobs"
)

func TestJobsAreListedByNameAndFoundByTheirWords(t *testing.T) {
	named := func(name jobs.Name, owner string) jobs.Job {
		return manual(func(j *jobs.Job) { j.Name, j.Owner = name, owner })
	}
	s := newScript(t, named("b", "Ann"), named("a", "Bob"))
	want := func(q jobs.JobQuery, total int, names ...jobs.Name) {
		t.Helper()
		list, n := s.core.Jobs(q)
		var got []jobs.Name
		for _, v := range list {
			got = append(got, v.Name)
		}
		if diff := cmp.Diff(names, got); diff != "" || n != total {
			t.Errorf("%+v: %d in all, want %d (-want +got):\n%s", q, n, total, diff)
		}
	}
	want(jobs.JobQuery{}, 2, "a", "b")
	want(jobs.JobQuery{Search: "ANN"}, 1, "b")
	s.step(Request{Do: ApplyJobs{Jobs: []jobs.Job{named("aa", "Ann"), named("b", "Cid")}}})
	want(jobs.JobQuery{}, 3, "a", "aa", "b")
	want(jobs.JobQuery{Offset: 1, Limit: 1}, 3, "aa")
	want(jobs.JobQuery{Search: "ann"}, 1, "aa")
	s.step(Request{Do: DeleteJob{Name: "aa"}})
	want(jobs.JobQuery{}, 2, "a", "b")
	s.step(Request{Do: ApplyJobs{Jobs: []jobs.Job{named("aa", "Dora")}}})
	want(jobs.JobQuery{Search: "ann"}, 0)
	want(jobs.JobQuery{Search: "dora"}, 1, "aa")
}
