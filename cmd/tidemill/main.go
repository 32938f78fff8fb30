// Command tidemill is the scheduler, the executor, the local Mesos and the
// tools around them in one binary. It wires everything and decides nothing.
package main

import (
	"context"
	"os"

	"tidemill/internal/mesoslocal"
)

func main() {
	if code, asked := mesoslocal.RunHelper(os.Args[1:]); asked {
		os.Exit(code)
	}
	os.Exit(run(context.Background(), os.Args[1:], console{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
