package command

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidemill/jobs"
)

// basics are the agent's variables that a command inherits; the executor's
// others (its own addresses, the agent's secrets) are none of its business.
var basics = []string{"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "JAVA_HOME", "LD_LIBRARY_PATH"}

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment puts a command's variables together: the agent's basics, the
// user's, and ours, which win.
func environment(inherited []string, s Spec, a jobs.Assignment, sandbox string) []string {
	vars := map[string]string{"PATH": defaultPath}
	for _, entry := range inherited {
		name, value, _ := strings.Cut(entry, "=")
		if slices.Contains(basics, name) || strings.HasPrefix(name, "LC_") {
			vars[name] = value
		}
	}
	maps.Copy(vars, s.Env)
	ours(vars, a)
	chronos(vars, a)
	vars["TIDEMILL_SANDBOX"], vars["MESOS_SANDBOX"] = sandbox, sandbox
	vars["TIDEMILL_RESULTS"], vars["TIDEMILL_INPUTS"] = resultsPath(sandbox), inputsPath(sandbox)
	return entries(vars)
}

// entries are variables as a process is given them.
func entries(vars map[string]string) []string {
	out := make([]string, 0, len(vars))
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		out = append(out, name+"="+vars[name])
	}
	return out
}

// ownFiles are the variables that name files of our executor's: in a container
// there are none.
var ownFiles = []string{"TIDEMILL_SANDBOX", "TIDEMILL_RESULTS", "TIDEMILL_INPUTS"}

// variables are those that a command may find.
func variables() []string {
	return []string{
		"TIDEMILL_JOB", "TIDEMILL_RUN", "TIDEMILL_TASK", "TIDEMILL_NOMINAL", "TIDEMILL_INTERVAL_START", "TIDEMILL_INTERVAL_END",
		"TIDEMILL_ATTEMPT", "TIDEMILL_ATTEMPTS", "TIDEMILL_VERSION", "TIDEMILL_TRIGGER", "TIDEMILL_HOST", "TIDEMILL_SANDBOX",
		"TIDEMILL_RESULTS", "TIDEMILL_INPUTS",
	}
}

// ours says what the run is for.
func ours(vars map[string]string, a jobs.Assignment) {
	set := func(name, value string) { vars["TIDEMILL_"+name] = value }
	at := func(name string, t time.Time) {
		if !t.IsZero() {
			set(name, t.Format(time.RFC3339))
		}
	}
	for name := range vars {
		if strings.HasPrefix(name, "TIDEMILL_") {
			delete(vars, name)
		}
	}
	set("JOB", string(a.Job))
	set("RUN", string(a.Run))
	set("TASK", string(a.Task))
	at("NOMINAL", a.Nominal)
	at("INTERVAL_START", a.Interval.Start)
	at("INTERVAL_END", a.Interval.End)
	set("ATTEMPT", strconv.Itoa(a.Start))
	set("ATTEMPTS", strconv.Itoa(a.Attempts))
	set("VERSION", strconv.FormatInt(a.Version, 10))
	set("TRIGGER", string(a.Trigger))
	set("HOST", a.Host)
	ports := make([]string, len(a.Ports))
	for i, p := range a.Ports {
		ports[i] = strconv.FormatUint(p, 10)
		vars["PORT"+strconv.Itoa(i)] = ports[i]
		if i < len(a.PortNames) {
			vars["PORT_"+portVariable(a.PortNames[i])] = ports[i]
		}
	}
	if len(ports) > 0 {
		vars["PORTS"] = strings.Join(ports, ",")
	}
}

// portVariable is a port's name as it stands in a variable's.
func portVariable(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }

// chronos says the same in the words that Chronos's commands know: the run's
// time in milliseconds, and attempts counted from 0.
func chronos(vars map[string]string, a jobs.Assignment) {
	vars["mesos_task_id"] = string(a.Task)
	vars["MESOS_TASK_ID"] = string(a.Task)
	vars["CHRONOS_JOB_OWNER"] = a.Owner
	vars["CHRONOS_JOB_NAME"] = string(a.Job)
	vars["HOST"] = a.Host
	vars["CHRONOS_RESOURCE_MEM"] = decimal(a.Resources.Mem)
	vars["CHRONOS_RESOURCE_CPU"] = decimal(a.Resources.CPUs)
	vars["CHRONOS_RESOURCE_DISK"] = decimal(a.Resources.Disk)
	vars["CHRONOS_JOB_RUN_TIME"] = strconv.FormatInt(a.Nominal.UnixMilli(), 10)
	vars["CHRONOS_JOB_RUN_ATTEMPT"] = strconv.Itoa(max(0, a.Start-1))
}

// decimal writes a number as Chronos did, with at least one decimal.
func decimal(v float64) string {
	s := strconv.FormatFloat(v, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}
