package restore

import (
	"context"
	"fmt"
	"strconv"

	"tidemill/jobs"
)

// tally adds up what the splits did, and judges the run by its error limit.
func (w work) tally(ctx context.Context, m manifest, splits int) (jobs.Result, error) {
	var sum totals
	var objects int64
	partial := false
	for split := range splits {
		files, err := m.files(ctx, split)
		if err != nil {
			return jobs.Result{}, err
		}
		for _, f := range files {
			switch f.state {
			case done:
				objects++
			case replaced:
			default:
				return jobs.Result{}, fmt.Errorf("add up split %d: %s is %s and not done", split, f.key, f.state)
			}
			sum.add(f.totals)
			if f.note != "" {
				partial = true
				w.log.Warn().Str("object", f.key).Str("note", f.note).Msg("not all of the object could be read")
			}
		}
	}
	r := jobs.Result{Values: map[string]string{
		"good": strconv.FormatInt(sum.good, 10), "bad": strconv.FormatInt(sum.bad, 10),
		"shadowed": strconv.FormatInt(sum.shadowed, 10), "objects": strconv.FormatInt(objects, 10),
		"partial": strconv.FormatBool(partial),
	}}
	if w.spec.MaxErrors.exceeded(sum.bad, sum.lines()) {
		return r, w.tooMany(sum)
	}
	return r, nil
}

func (w work) tooMany(t totals) error {
	return jobs.Permanent(&jobs.Error{
		Code: jobs.Conflict, Op: "restore", Subject: w.spec.From,
		Message: fmt.Sprintf("%d of %d lines are broken, and max_errors is %s", t.bad, t.lines(), w.spec.MaxErrors),
		Hint:    "what was good is stored; see the broken lines below " + w.folder.String() + ", and raise max_errors to accept them",
	})
}
