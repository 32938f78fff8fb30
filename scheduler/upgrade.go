package scheduler

import (
	"encoding/json"
	"reflect"
	"strings"

	"tidemill/jobs"
)

// UpgradeReport says what an upgrade of a store does.
type UpgradeReport struct {
	From      int            `json:"from"` // formats
	To        int            `json:"to"`
	Records   int            `json:"records"`
	Rewritten map[string]int `json:"rewritten,omitempty"` // by family
	Left      []string       `json:"left,omitempty"`      // keys of records that cannot be read
}

// Upgrade plans the changes that give every record the form in which this
// program would write it, and the store the newest format, last. An older
// program may not be able to lead with it after that.
func Upgrade(store []Record) ([]Group, UpgradeReport, error) {
	var groups []Group
	report := UpgradeReport{To: Format, Records: len(store), Rewritten: map[string]int{}}
	var meta metaRecord
	for _, r := range store {
		if r.Key == keyMeta {
			var err error
			if meta.extra, err = decode(r.Value, &meta); err != nil {
				return nil, report, &jobs.Error{Code: jobs.Conflict, Op: "upgrade", Subject: "record " + r.Key, Message: "it cannot be read", Err: err, Hint: "run a newer tidemill"}
			}
			continue
		}
		value, err := rewrite(r)
		if err != nil {
			report.Left = append(report.Left, r.Key)
			continue
		}
		if !sameJSON(value, r.Value) {
			report.Rewritten[strings.TrimSuffix(family(r.Key), "/")]++
			groups = append(groups, Group{{Key: r.Key, Value: value}})
		}
	}
	report.From = meta.Format
	if meta.Format > Format || meta.Importing != "" {
		c := New(DefaultConfig(), nil)
		return nil, report, c.loadMeta(&parsed{key: keyMeta, value: encode(&meta, meta.extra)})
	}
	if len(store) > 0 && meta.Format < Format {
		meta.Format = Format
		groups = append(groups, Group{{Key: keyMeta, Value: encode(&meta, meta.extra)}})
	}
	return groups, report, nil
}

// rewrite gives a record as this program writes it.
func rewrite(r Record) ([]byte, error) {
	switch family(r.Key) {
	case keyJob:
		return rewriteAs[jobRecord](r)
	case keyState:
		return rewriteAs[stateRecord](r)
	case keyRun:
		return rewriteAs[jobs.Run](r)
	case keyTask:
		return rewriteAs[jobs.Task](r)
	case keyPool:
		return rewriteAs[jobs.Pool](r)
	case keyTarget:
		return rewriteAs[targetRecord](r)
	}
	return r.Value, nil
}

func rewriteAs[V any](r Record) ([]byte, error) {
	var v V
	extra, err := decode(r.Value, &v)
	if err != nil {
		return nil, err
	}
	return encode(&v, extra), nil
}

// sameJSON compares documents regardless of the order of their fields.
func sameJSON(a, b []byte) bool {
	var one, other any
	return string(a) == string(b) || json.Unmarshal(a, &one) == nil && json.Unmarshal(b, &other) == nil && reflect.DeepEqual(one, other)
}
