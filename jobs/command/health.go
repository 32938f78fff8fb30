package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"

	"tidemill/jobs"
)

// CheckHealth runs a shell text in the surroundings of a running command, as a
// session of its own that is killed whole when it has ended, or ctx has.
func (k *Kind) CheckHealth(ctx context.Context, text string, a jobs.Assignment, sandbox string) error {
	s, err := decode(a.Spec)
	if err != nil {
		return fmt.Errorf("read the command's spec: %w", err)
	}
	runtime.LockOSThread() // as for the command itself
	defer runtime.UnlockOSThread()
	cmd := s.prepare([]string{"/bin/sh", "-c", text}, environment(os.Environ(), s, a, sandbox), sandbox)
	last := &lastLines{}
	p, err := k.family.start(cmd, io.Discard, last)
	if err != nil {
		return fmt.Errorf("start the check: %w", err)
	}
	select {
	case <-p.exited:
	case <-ctx.Done():
		err = errors.Join(fmt.Errorf("the check was ended: %w", context.Cause(ctx)), p.signal(syscall.SIGKILL))
	}
	if err = errors.Join(err, p.finish()); err != nil || p.waitErr == nil {
		return err
	}
	err = describe(cmd, p.waitErr)
	if text := last.String(); text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return err
}
