package scheduler

import (
	"encoding/json"
	"testing"
	"time"

	"tidemill/jobs"
)

// TestFieldsOfANewerProgramSurvive: a leader that does not know a field
// writes it again as it was, at the top of a record and within its job.
func TestFieldsOfANewerProgramSurvive(t *testing.T) {
	s := newScript(t, scheduled("0 * * * *", jobs.CatchUp{}))
	id := s.start("j", "r")
	task := s.launchOne("a")
	keys := []string{keyMeta, keyJob + "j", keyState + "j", keyRun + string(id), keyTask + string(task)}
	for _, key := range keys {
		s.store[key] = unknown{"novel": json.RawMessage(`{"a":[1]}`)}.mergeInto(s.store[key])
	}
	s.store[keyJob+"j"] = unknown{"job": unknown{"tide": json.RawMessage(`"high"`), "schedule": unknown{"moon": json.RawMessage(`1`)}}}.mergeInto(s.store[keyJob+"j"])
	before := map[string]string{}
	for _, key := range keys {
		before[key] = string(s.store[key])
	}
	s.failover()
	s.step(Request{Do: PauseJob{Name: "j", Paused: true}})
	s.executorSays(task, jobs.TaskRunning)
	s.now = s.now.Add(time.Minute)
	s.executorSays(task, jobs.TaskFinished)
	s.failover()
	for _, key := range keys[:4] {
		if string(s.store[key]) == before[key] {
			t.Errorf("%s was not rewritten: this tests nothing", key)
		}
		var doc map[string]json.RawMessage
		if err := json.Unmarshal(s.store[key], &doc); err != nil {
			t.Fatal(err)
		}
		if string(doc["novel"]) != `{"a":[1]}` {
			t.Errorf("%s lost its field: %s", key, s.store[key])
		}
		if key == keyJob+"j" {
			var job struct {
				Tide     string
				Schedule struct{ Moon int }
			}
			if err := json.Unmarshal(doc["job"], &job); err != nil || job.Tide != "high" || job.Schedule.Moon != 1 {
				t.Errorf("the job lost its fields: %+v, %v", job, err)
			}
		}
	}
}
