// Package command has the kinds of jobs that run a program, a shell text or an
// argument vector: command to its end, as Chronos's jobs do, and service for
// ever, as Marathon's apps do.
package command

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"tidemill/jobs"
)

// Spec is a command. Exactly one of Command and Argv is given; neither where
// the container's image says what is run.
type Spec struct {
	// Command is a text for /bin/sh. A run's arguments become its positional
	// parameters: where the text uses them ("$1", "$@") they stand there, else
	// they follow its last word.
	Command string `json:"command,omitempty"`
	// Argv is a program and its arguments; a run's arguments follow. What
	// Tidemill sets in the environment can be named in it: ${TIDEMILL_NOMINAL}.
	Argv []string          `json:"argv,omitempty"`
	Env  map[string]string `json:"env,omitempty"`
	// Dir is where it runs: absolute, or below the attempt's directory (default).
	Dir string `json:"dir,omitempty"`
	// Idempotent commands may be repeated when nobody knows how one ended; a
	// service's instances are, unless they are said not to be.
	Idempotent *bool `json:"idempotent,omitempty"`
	// User is whom it runs as; the user of the scheduler's framework by default.
	User string `json:"user,omitempty"`
	// Fetch is what the agent downloads before it begins.
	Fetch []jobs.Download `json:"fetch,omitempty"`
	// Container is what it runs in, by Mesos's own executors.
	Container *jobs.Container `json:"container,omitempty"`
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

// Check validates the spec.
func (k *Kind) Check(raw json.RawMessage) (jobs.Traits, error) {
	t := jobs.Traits{
		Service: k.service, ChecksCommands: k.service,
		Isolation: jobs.IsolationOwn, // one command's memory must not kill its neighbours
	}
	s, err := decode(raw)
	if err != nil {
		return t, err
	}
	t.Idempotent = k.service
	if s.Idempotent != nil {
		t.Idempotent = *s.Idempotent
	}
	t.User, t.Downloads = s.User, s.Fetch
	if s.Container != nil {
		box := s.Container.WithDefaults()
		t.Container, t.Ports = &box, len(box.Ports)
	}
	return t, nil
}

func decode(raw json.RawMessage) (Spec, error) {
	var s Spec
	var e jobs.FieldErrors
	reading := jobs.DecodeStrict(raw, &s)
	switch {
	case strings.TrimSpace(s.Command) == "" && len(s.Argv) == 0 && s.Container == nil:
		e.Addf("command", "is missing: give a shell text, or argv: [program, argument, …]")
	case s.Command != "" && len(s.Argv) > 0:
		e.Addf("argv", "may not stand beside command: give one of them")
	case len(s.Argv) > 0 && s.Argv[0] == "":
		e.Addf("argv[0]", "is the program and may not be empty")
	}
	s.checkWords(&e)
	s.checkContainer(&e)
	s.checkSandbox(&e)
	noNUL(&e, "command", s.Command)
	noNUL(&e, "argv", s.Argv...)
	noNUL(&e, "dir", s.Dir)
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		if !variableName.MatchString(name) {
			e.Addf("env", "%q is no name for a variable (letters, digits and '_', '.', '-'; no digit first)", name)
		}
		if strings.HasPrefix(name, "TIDEMILL_") {
			e.Addf("env", "%q: names that begin with TIDEMILL_ are set by Tidemill", name)
		}
		noNUL(&e, "env."+name, s.Env[name])
	}
	return s, jobs.Findings(reading, e.Err())
}

// checkWords finds variables in the argument vector that nobody sets.
func (s Spec) checkWords(e *jobs.FieldErrors) {
	known := variables()
	if s.Container != nil {
		known = slices.DeleteFunc(known, func(name string) bool { return slices.Contains(ownFiles, name) })
	}
	for i, word := range s.Argv {
		for _, found := range variable.FindAllStringSubmatch(word, -1) {
			if !slices.Contains(known, found[1]) {
				e.Addf(fmt.Sprintf("argv[%d]", i), "%s is not set by Tidemill; these are: %s", found[1], strings.Join(known, ", "))
			}
		}
	}
}

func (s Spec) checkContainer(e *jobs.FieldErrors) {
	if s.Container == nil {
		return
	}
	e.AddAll("container", s.Container.Validate())
	if s.Dir != "" {
		e.Addf("dir", "belongs to commands outside of containers; begin the command with cd")
	}
}

// userName is what useradd takes, and what directories of users hold.
var userName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}$`)

func (s Spec) checkSandbox(e *jobs.FieldErrors) {
	if s.User != "" && !userName.MatchString(s.User) {
		e.Addf("user", "%q is no name of a user", s.User)
	}
	if len(s.Fetch) > jobs.MaxDownloads {
		e.Addf("fetch", "%d downloads; at most %d: pack them into an archive", len(s.Fetch), jobs.MaxDownloads)
		return
	}
	for i, d := range s.Fetch {
		e.AddAll(fmt.Sprintf("fetch[%d]", i), d.Validate())
	}
}

// noNUL refuses what no process can be given.
func noNUL(e *jobs.FieldErrors, field string, values ...string) {
	for _, v := range values {
		if strings.ContainsRune(v, 0) {
			e.Addf(field, "holds a NUL byte, which no command can be given")
			return
		}
	}
}

// variable finds what is to be filled in of the environment.
var variable = regexp.MustCompile(`\$\{(TIDEMILL_[A-Z_]+)\}`)

// filled is the spec with its argument vector's variables filled in. A
// command's text is left alone: its shell does that.
func (s Spec) filled(env []string) Spec {
	values := map[string]string{}
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		values[name] = value
	}
	s.Argv = slices.Clone(s.Argv)
	for i, word := range s.Argv {
		s.Argv[i] = variable.ReplaceAllStringFunc(word, func(v string) string { return values[v[2:len(v)-1]] })
	}
	return s
}

// positional finds a text that says itself where its arguments go.
var positional = regexp.MustCompile(`\$(?:[@*#1-9]|\{[@*#1-9])`)

// argv is what is executed. Arguments are never pasted into a shell text: they
// arrive as they are, whatever quotes or blanks they hold.
func (s Spec) argv(arguments []string) []string {
	if len(s.Argv) > 0 {
		return append(append([]string{}, s.Argv...), arguments...)
	}
	text := s.Command
	if len(arguments) > 0 && !positional.MatchString(text) {
		text = strings.TrimRight(text, " \t\r\n") + ` "$@"`
	}
	return append([]string{"/bin/sh", "-c", text, "sh"}, arguments...)
}
