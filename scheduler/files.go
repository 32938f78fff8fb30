package scheduler

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"tidemill/jobs"
)

// maxFiles bounds how much of a directory is listed.
const maxFiles = 1000

// ListFiles gives what is in a directory of an attempt's sandbox, by name.
func (s *Scheduler) ListFiles(ctx context.Context, id jobs.TaskID, dir string) ([]jobs.File, error) {
	task, where, root, err := s.sandbox(ctx, id, dir)
	if err != nil {
		return nil, err
	}
	all, err := s.opt.Files.List(ctx, where, path.Join(root, dir))
	if err != nil {
		return nil, fileError(&task, dir, err)
	}
	var list []jobs.File
	for _, f := range all {
		if within, ok := strings.CutPrefix(f.Path, root+"/"); ok || root == "." {
			f.Path = within
			list = append(list, f)
		}
	}
	slices.SortFunc(list, func(a, b jobs.File) int { return strings.Compare(a.Path, b.Path) })
	return list[:min(len(list), maxFiles)], nil
}

// ReadFile reads at most limit bytes of a file in an attempt's sandbox.
func (s *Scheduler) ReadFile(ctx context.Context, id jobs.TaskID, file string, offset int64, limit int) (jobs.FileChunk, error) {
	task, where, root, err := s.sandbox(ctx, id, file)
	if err != nil {
		return jobs.FileChunk{}, err
	}
	data, size, err := s.opt.Files.Read(ctx, where, path.Join(root, file), offset, limit)
	if err != nil {
		return jobs.FileChunk{}, fileError(&task, file, err)
	}
	return jobs.FileChunk{Data: data, Offset: offset, Size: size}, nil
}

// sandbox finds an attempt's directory, for a path that must not lead out of it:
// beside it are those of others' attempts.
func (s *Scheduler) sandbox(ctx context.Context, id jobs.TaskID, within string) (task jobs.Task, where Sandbox, root string, err error) {
	if within != "" && !filepath.IsLocal(within) {
		return task, where, "", &jobs.Error{Code: jobs.Invalid, Op: "read sandbox", Subject: "task " + string(id),
			Message: "the path leads out of the sandbox: " + within, Hint: "name it from the sandbox on, without .."}
	}
	task, where, err = s.taskView(ctx, id)
	return task, where, sandboxDir(&task), err
}

func fileError(task *jobs.Task, file string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &jobs.Error{Code: jobs.NotFound, Op: "read sandbox", Subject: "task " + string(task.ID), Message: "nothing is called \"" + file + "\" in it, on " + task.Host,
			Hint: "tidemill run files " + string(task.ID) + " lists what is; an agent removes a sandbox after some time"}
	}
	return &jobs.Error{Code: jobs.Unavailable, Op: "read sandbox", Subject: "task " + string(task.ID), Err: err,
		Hint: "the files lie on " + task.Host + " until its agent removes the sandbox"}
}
