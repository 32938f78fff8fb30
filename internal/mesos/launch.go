package mesos

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/mesos/mesos-go/api/v1/lib"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// artifactFile is what an executor's artifact is called in its sandbox.
const artifactFile = "tidemill"

// taskInfos picks the launches' resources out of the accepted offers.
func taskInfos(c scheduler.Accept, offers *book) []mesos.TaskInfo {
	free, live := offers.take(c.Offers)
	infos := make(map[string]*mesos.ExecutorInfo)
	for _, l := range c.Launches {
		if l.Native != nil || infos[l.Executor.ID] != nil {
			continue
		}
		infos[l.Executor.ID] = executorInfo(&l.Executor, free.role)
		if !slices.Contains(live, l.Executor.ID) {
			free.spend(&l.Executor)
		}
	}
	tasks := make([]mesos.TaskInfo, len(c.Launches))
	for i, l := range c.Launches {
		tasks[i] = mesos.TaskInfo{
			Name:       l.Name,
			TaskID:     mesos.TaskID{Value: string(l.Task)},
			AgentID:    mesos.AgentID{Value: l.Agent},
			Executor:   infos[l.Executor.ID], // none of ours for a native task
			Resources:  free.take(l.Resources, l.Ports),
			Data:       l.Data,
			Labels:     labels(l.Labels),
			KillPolicy: killPolicy(l.KillGrace),
			Discovery:  discovery(l.Discovery),
		}
		if l.Native != nil {
			native(&tasks[i], &l)
		}
		if tasks[i].Name == "" {
			tasks[i].Name = string(l.Task)
		}
	}
	return tasks
}

// executorInfo depends on the spec and the role alone, in every part and its
// order: Mesos refuses a task whose executor's info differs from that of the
// living executor of the same id. So the spec says which resources are reserved.
func executorInfo(spec *scheduler.ExecutorSpec, role string) *mesos.ExecutorInfo {
	info := &mesos.ExecutorInfo{
		Type:       mesos.ExecutorInfo_CUSTOM,
		ExecutorID: mesos.ExecutorID{Value: spec.ID},
		Name:       optional(spec.Name),
		Command:    command(spec),
	}
	for _, w := range amounts(spec.Resources) {
		r := scalar(w.name, w.amount, role)
		if from := spec.Reserved[w.name]; from != "" {
			var as mesos.Resource
			if json.Unmarshal([]byte(from), &as) == nil { // reservationText wrote it
				r.Role, r.Reservation, r.Reservations = as.Role, as.Reservation, as.Reservations
			}
		}
		info.Resources = append(info.Resources, r)
	}
	if spec.Grace > 0 {
		info.ShutdownGracePeriod = &mesos.DurationInfo{Nanoseconds: int64(spec.Grace)}
	}
	return info
}

func command(spec *scheduler.ExecutorSpec) *mesos.CommandInfo {
	shell, yes, no := false, true, false
	value := spec.Command
	if value == "" {
		value = "./" + artifactFile
	}
	c := &mesos.CommandInfo{
		Shell: &shell,
		Value: &value,
		// Mesos runs Value with Arguments as its whole argv, argv[0] included.
		Arguments: append([]string{value}, spec.Arguments...),
		User:      optional(spec.User),
	}
	if spec.Artifact != "" {
		file := artifactFile
		c.URIs = []mesos.CommandInfo_URI{{
			Value: spec.Artifact, Executable: &yes, Extract: &no, Cache: &yes, OutputFile: &file,
		}}
	}
	c.URIs = append(c.URIs, uris(spec.Downloads)...)
	c.Environment = variables(spec.Env)
	return c
}

func uris(list []jobs.Download) (out []mesos.CommandInfo_URI) {
	for _, d := range list {
		extract := d.Unpacked() && !d.Executable
		out = append(out, mesos.CommandInfo_URI{
			Value: d.URI, Executable: &d.Executable, Extract: &extract, Cache: &d.Cache, OutputFile: optional(d.File),
		})
	}
	return out
}

func labels(set map[string]string) *mesos.Labels {
	if len(set) == 0 {
		return nil
	}
	out := &mesos.Labels{}
	for _, key := range slices.Sorted(maps.Keys(set)) {
		value := set[key]
		out.Labels = append(out.Labels, mesos.Label{Key: key, Value: &value})
	}
	return out
}
