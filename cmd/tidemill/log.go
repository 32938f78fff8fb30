package main

import (
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// logTime is RFC 3339 with milliseconds.
const logTime = "2006-01-02T15:04:05.000Z07:00"

// newLogger logs to w: for people with colours where w is a terminal, or as
// JSON, one object a line.
func newLogger(w io.Writer, format string, level zerolog.Level) zerolog.Logger {
	if format == "console" {
		w = zerolog.ConsoleWriter{
			Out: w, TimeFormat: "15:04:05.000",
			NoColor: !isTerminal(w) || os.Getenv("NO_COLOR") != "",
		}
	}
	return zerolog.New(w).Level(level).Hook(zerolog.HookFunc(stamp))
}

// stamp adds the time; zerolog's own is set for a whole process, to seconds.
func stamp(e *zerolog.Event, _ zerolog.Level, _ string) {
	e.Str(zerolog.TimestampFieldName, time.Now().Format(logTime))
}

// isTerminal says whether a person may be looking.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
