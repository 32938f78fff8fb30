package command

import (
	"maps"

	"tidemill/jobs"
)

// Native is the command for Mesos's built-in executors. The container has an
// environment of its own: of the agent's nothing is inherited.
func (*Kind) Native(a jobs.Assignment) jobs.Command {
	s, err := decode(a.Spec)
	if err != nil {
		return jobs.Command{} // cannot be: the scheduler checked it
	}
	c := jobs.Command{Env: map[string]string{}}
	maps.Copy(c.Env, s.Env)
	ours(c.Env, a)
	chronos(c.Env, a)
	switch {
	case s.Command != "" && len(a.Arguments) == 0:
		c.Shell = s.Command
	case s.Command != "" || len(s.Argv) > 0:
		argv := s.filled(entries(c.Env)).argv(a.Arguments)
		c.Program, c.Arguments = argv[0], argv[1:]
	default:
		c.Arguments = a.Arguments
	}
	return c
}
