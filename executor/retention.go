package executor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"tidemill/jobs"
)

// keepSurely is how long a scheduler that changes hands may take to come for
// an attempt's plan.
const keepSurely = 15 * time.Minute

// retention says which ended attempts' directories a warm executor keeps: the
// newest, within a number and a sum of bytes.
type retention struct {
	tasks int   // beyond it, what is older than keepSurely goes
	bytes int64 // likewise
	kept  []keptAttempt
	sum   int64
}

type keptAttempt struct {
	id    jobs.TaskID
	since time.Time
	bytes int64
}

// add takes a newly ended attempt in, and gives those to remove. Beyond ten
// times a bound there is no mercy for the young: the disk has an end, too.
func (r *retention) add(now time.Time, id jobs.TaskID, bytes int64) (remove []jobs.TaskID) {
	r.kept = append(r.kept, keptAttempt{id, now, bytes})
	r.sum += bytes
	for len(r.kept) > 1 && r.over(now.Sub(r.kept[0].since) < keepSurely) {
		remove = append(remove, r.kept[0].id)
		r.sum -= r.kept[0].bytes
		r.kept = r.kept[1:]
	}
	return remove
}

func (r *retention) over(young bool) bool {
	factor := 1
	if young {
		factor = 10
	}
	return len(r.kept) > factor*r.tasks || r.sum > int64(factor)*r.bytes
}

// sizeOf sums what an attempt left; what cannot be read counts nothing.
func (s *storage) sizeOf(id jobs.TaskID) int64 {
	var sum int64
	if checkID(id) != nil {
		return 0
	}
	_ = filepath.WalkDir(s.dir(id), func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			sum += info.Size()
		}
		return nil
	})
	return sum
}

// clean removes the directories of attempts that are no longer kept.
func (s *storage) clean(ids []jobs.TaskID) error {
	var errs []error
	for _, id := range ids {
		err := checkID(id)
		if err == nil {
			err = os.RemoveAll(s.dir(id))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
