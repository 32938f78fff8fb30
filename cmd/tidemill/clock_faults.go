//go:build faults

package main

import (
	"os"
	"strings"
	"time"
)

// clock is what a scheduler tells the time by: the machine's, and the offset in the file that the
// environment names, so that it can be set wrong while the scheduler runs.
func clock(getenv func(string) string) func() time.Time {
	file := getenv("TIDEMILL_CLOCK_OFFSET_FILE")
	return func() time.Time {
		text, err := os.ReadFile(file)
		if err != nil {
			return time.Now() // it is right until it is set wrong
		}
		offset, err := time.ParseDuration(strings.TrimSpace(string(text)))
		if err != nil {
			return time.Now()
		}
		return time.Now().Add(offset)
	}
}
