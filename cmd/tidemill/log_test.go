package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

func TestLogLines(t *testing.T) {
	for format, want := range map[string]string{
		"console": `^\d\d:\d\d:\d\d\.\d{3} WRN disk is filling free=7\n$`,
		"json":    `^\{"level":"warn","free":7,"time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d)","message":"disk is filling"\}\n$`,
	} {
		var out bytes.Buffer
		log := newLogger(&out, format, zerolog.WarnLevel)
		log.Info().Msg("below the level")
		log.Warn().Int("free", 7).Msg("disk is filling")
		if !regexp.MustCompile(want).Match(out.Bytes()) {
			t.Errorf("%s: %q does not match %s", format, out.String(), want)
		}
	}
}

func TestLogTimesHaveMilliseconds(t *testing.T) {
	var out bytes.Buffer
	log := newLogger(&out, "console", zerolog.InfoLevel)
	for range 50_000 { // takes longer than a millisecond
		log.Info().Send()
	}
	if !regexp.MustCompile(`(?m)^\S{8}\.\d*[1-9]`).Match(out.Bytes()) {
		t.Errorf("no line has a part of a second: %.60q", out.String())
	}
}

func TestLogHasColoursOnTerminalsOnly(t *testing.T) {
	master, terminal := openTerminal(t)
	t.Setenv("NO_COLOR", "")
	log := newLogger(terminal, "console", zerolog.InfoLevel)
	log.Info().Msg("bright")
	line := make([]byte, 1024)
	n, err := master.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(line[:n], []byte("\x1b[")) {
		t.Errorf("no colour on a terminal: %q", line[:n])
	}
	t.Setenv("NO_COLOR", "1")
	log = newLogger(terminal, "console", zerolog.InfoLevel)
	log.Info().Msg("plain")
	if n, err = master.Read(line); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(line[:n], []byte("\x1b[")) {
		t.Errorf("colour in spite of NO_COLOR: %q", line[:n])
	}
}

// openTerminal gives both sides of a pseudo-terminal.
func openTerminal(t *testing.T) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("this machine has no pseudo-terminals: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return master, terminal
}
