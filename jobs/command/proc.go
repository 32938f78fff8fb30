package command

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// proc is what /proc/<pid>/stat says of a process.
type proc struct {
	pid, parent, session int
	zombie               bool
	started              uint64 // in clock ticks since the machine's start
}

// listProcs lists the processes of the machine. Those that end meanwhile are
// left out.
func listProcs() ([]proc, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list the processes: %w", err)
	}
	var out []proc
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, err := readProc(pid); err == nil {
			out = append(out, p)
		}
	}
	return out, nil
}

func readProc(pid int) (proc, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return proc{}, err
	}
	return parseStat(string(b))
}

// parseStat takes a line of /proc/<pid>/stat apart (proc(5)): "pid (name)
// state ppid pgrp session …", where the name may hold anything, ')' too.
func parseStat(line string) (proc, error) {
	bad := errors.New("not a line of /proc/<pid>/stat")
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return proc{}, bad
	}
	fields := strings.Fields(line[end+1:])
	const startTime = 19 // field 22 of the line; the name is field 2
	if len(fields) <= startTime {
		return proc{}, bad
	}
	var p proc
	var errs [4]error
	p.pid, errs[0] = strconv.Atoi(strings.TrimSpace(line[:open]))
	p.parent, errs[1] = strconv.Atoi(fields[1])
	p.session, errs[2] = strconv.Atoi(fields[3])
	p.started, errs[3] = strconv.ParseUint(fields[startTime], 10, 64)
	if err := errors.Join(errs[:]...); err != nil {
		return proc{}, fmt.Errorf("%w: %w", bad, err)
	}
	p.zombie = fields[0] == "Z" || fields[0] == "X"
	return p, nil
}

// hasVariable says whether a process was started with the variable. Others'
// processes do not say.
func hasVariable(pid int, entry string) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false
	}
	for v := range bytes.SplitSeq(b, []byte{0}) {
		if string(v) == entry {
			return true
		}
	}
	return false
}
