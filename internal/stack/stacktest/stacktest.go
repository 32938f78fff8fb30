// Package stacktest gives tests the real servers: one stack shared by a whole test run, or one of
// a test's own to kill.
//
// The shared stack is started by `tidemill stack run -- go test ./...`, once for all packages,
// whose tests are processes of their own. Under a plain `go test` there is none, and the tests
// that need servers are skipped; in CI, where CI is set in the environment, they fail instead, so
// that a run without servers cannot pass for one with them. A user's own servers (TIDEMILL_ZK and
// so on) are never used: tests destroy things.
package stacktest

import (
	"os"
	"testing"

	"github.com/rs/zerolog"

	"tidemill/internal/stack"
)

const howToRun = "needs real servers: run it by `tidemill stack run -- go test ./...`"

// Shared returns the addresses of the run's stack: one server of each kind, unless stack run was
// told otherwise. Tests tell their data apart by random names, and must not stop the servers.
func Shared(t testing.TB) stack.Addresses {
	t.Helper()
	Require(t)
	addresses, err := stack.FromEnvironment(stack.TestPrefix, os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	return addresses
}

// Own starts servers for this test alone, to be killed and restarted at will; they end with it.
func Own(t testing.TB, o stack.Options) *stack.Stack {
	t.Helper()
	Require(t)
	o.Log = zerolog.New(zerolog.NewTestWriter(t))
	o.Progress = func(line string) { t.Log(line) }
	s, err := stack.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stop the test's servers: %v", err)
		}
	})
	return s
}

// Require skips the test outside of `tidemill stack run`; in CI it fails it.
func Require(t testing.TB) {
	t.Helper()
	if os.Getenv(stack.RunVariable) != "" {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal(howToRun + " (CI is set: not skipped)")
	}
	t.Skip(howToRun)
}
