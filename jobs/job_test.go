package jobs

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestBackoffDoublesUpToItsCap(t *testing.T) {
	r := Retry{Backoff: Duration(10 * time.Second), Max: Duration(time.Minute)}
	for n, want := range map[int]time.Duration{2: 10 * time.Second, 3: 20 * time.Second, 4: 40 * time.Second, 5: time.Minute, 90: time.Minute} {
		got := r.BackoffBefore(n, "run")
		if got < want*9/10 || got > want*11/10 {
			t.Errorf("before start %d: %s, want %s ± 10 %%", n, got, want)
		}
		if again := r.BackoffBefore(n, "run"); again != got {
			t.Errorf("before start %d: %s, then %s", n, got, again)
		}
	}
}

// TestValidateFindsEverythingAtOnce: each fault is named by its field.
func TestValidateFindsEverythingAtOnce(t *testing.T) {
	j := scheduled("a b", "61 * * * *")
	j.Overlap, j.OnUnknown, j.StartDeadline = "sometimes", "guess", -1
	j.Retry.Attempts = -2
	j.Retry.Backoff, j.Retry.Max, j.KillGrace = -1, -1, -1
	j.Resources = Resources{CPUs: -1, Mem: -1, Disk: -1, GPUs: 0.5}
	j.Placement = Placement{Near: "kafka", Constraints: []Constraint{{Field: "rack", Operator: "LIKE", Value: "("}, {Operator: "IS"}}}
	j.After = []Name{"a b", "p", "p"}
	err := j.Validate(Traits{Service: true}, FieldErrors{{Field: "topic", Message: "is missing"}})
	for _, field := range []string{
		"name:", "schedule.cron[0]:", "overlap:", "on_unknown:", "start_deadline:", "retry.attempts:", "resources.cpus:", "resources.gpus:",
		"placement.near:", "placement.constraints[0]:", "placement.constraints[1]:", "after[0]:", "after[2]:", "spec.topic:", "schedule: a service",
	} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("nothing is said of %s in %v", field, err)
		}
	}
	for range 20 {
		if again := j.Validate(Traits{Service: true}, FieldErrors{{Field: "topic", Message: "is missing"}}); again.Error() != err.Error() {
			t.Fatalf("another order:\n%v\n%v", err, again)
		}
	}
}

func TestDecodeStrict(t *testing.T) {
	for doc, want := range map[string]string{
		`{"n": 1}`: "", ``: "", `{"N": 1, "list": [{"n": 2}], "by": {"x": 3}, "wait": "10s", "box": null}`: "",
		`{"m": 1}`: `m: unknown field; is it "n" that you mean?`, `{"n": "x"}`: `n: expected a whole number, found "x"`,
		`{"n": 1} {}`: "more follows", `{"n": `: "unexpected EOF", `[1]`: "expected a mapping, found a list", `"x"`: `expected a mapping, found "x"`,
		`{"n": [1], "unheard of": 1, "list": {"n": 1}, "by": {"x": true}, "wait": 3, "box": {"N": null, "on": 1}}`: `box.on: expected true or false, found the number 1; ` +
			`by.x: expected a number, found true; list: expected a list, found a mapping; n: expected a whole number, found a list; unheard of: unknown field; wait: `,
		`{"list": [{"n": 1}, {"n": 1.5}, 7]}`: `list[1].n: expected a whole number, found the number 1.5; list[2]: expected a mapping, found the number 7`,
	} {
		type box struct {
			N  int  `json:"n"`
			On bool `json:"on"`
		}
		var v struct {
			N    int                `json:"n"`
			List []box              `json:"list"`
			By   map[string]float64 `json:"by"`
			Wait Duration           `json:"wait"`
			Box  *box               `json:"box"`
		}
		err := DecodeStrict(json.RawMessage(doc), &v)
		if (want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", doc, err, want)
		}
	}
}

func TestDecodeStrictReadsWhatItCan(t *testing.T) {
	type inner struct {
		Wait Duration `json:"wait"`
		N    int      `json:"n"`
	}
	var v struct {
		Name string           `json:"name"`
		Box  inner            `json:"box"`
		List []int            `json:"list"`
		By   map[string]inner `json:"by"`
		Last string           `json:"last"`
	}
	err := DecodeStrict(json.RawMessage(`{"bogus": 1, "box": {"wait": "x", "n": 3}, "list": [1, "x", 2],
		"by": {"a": {"n": 1}, "b": 7}, "name": 5, "last": "read"}`), &v)
	if want := 5; err == nil || strings.Count(err.Error(), ";")+1 < want {
		t.Errorf("%v, want %d findings", err, want)
	}
	if v.Box.N != 3 || len(v.List) != 2 || v.By["a"].N != 1 || len(v.By) != 1 || v.Last != "read" || v.Name != "" {
		t.Errorf("read %+v", v)
	}
}

func TestFindings(t *testing.T) {
	reading := FieldErrors{{Field: "http.port", Message: "unknown"}, {Field: "from", Message: "is a list"}}
	rest := FieldErrors{{Field: "from", Message: "is missing"}, {Field: "http.port[0]", Message: "is part of it"},
		{Field: "http.ports", Message: "is another"}, {Field: "to", Message: "is missing"}}
	if got := Findings(reading, rest).Error(); got != "http.port: unknown; from: is a list; http.ports: is another; to: is missing" {
		t.Error(got)
	}
	if got := Findings(FieldErrors{{Message: "no mapping"}}, rest).Error(); got != "no mapping" {
		t.Errorf("%s, of a document of which nothing was read", got)
	}
	if err := Findings(nil, FieldErrors(nil).Err()); err != nil {
		t.Error(err)
	}
}

func TestResources(t *testing.T) {
	free := Resources{CPUs: 1, Mem: 100, Ports: 1}
	third := Resources{CPUs: 0.1}
	left := free
	for range 10 {
		if !third.Fits(left) {
			t.Fatalf("0.1 cpus do not fit in %v: a sum of tenths lost one", left)
		}
		left = left.Sub(third)
	}
	if third.Fits(left) {
		t.Errorf("an eleventh tenth fits in %v", left)
	}
	short := Resources{CPUs: 1.5, Mem: 100_096.0625, GPUs: 1, Ports: 2}.Short(free)
	if got := strings.Join(short, ", "); got != "cpus short by 0.5, mem short by 99996.063, gpus short by 1, ports short by 1" {
		t.Errorf("short: %s", got)
	}
}

func TestFieldErrorsKeepTheirPaths(t *testing.T) {
	var inner, outer FieldErrors
	inner.Addf("topic", "is missing")
	inner.Addf("", "is empty")
	outer.AddAll("spec", inner)
	outer.AddAll("", FieldError{Field: "name", Message: "is taken"})
	if got := outer.Error(); got != "spec.topic: is missing; spec: is empty; name: is taken" {
		t.Error(got)
	}
	if code, ok := CodeOf(&Error{Err: outer, Code: Conflict}); !ok || code != Conflict {
		t.Errorf("code %q", code)
	}
	if code, _ := CodeOf(outer); code != Invalid {
		t.Errorf("field errors are %q", code)
	}
}
