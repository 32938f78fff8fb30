package mesoslocal

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
)

func TestMain(m *testing.M) {
	if code, asked := RunHelper(os.Args[1:]); asked {
		os.Exit(code)
	}
	if len(os.Args) > 2 && os.Args[1] == memberArgument {
		os.Exit(runMember(os.Args[2:]))
	}
	if len(os.Args) == 2 && os.Args[1] == echoArgument {
		os.Exit(runEchoExecutor())
	}
	if len(os.Args) == 5 && os.Args[1] == replayArgument {
		scale, err := strconv.ParseFloat(os.Args[3], 64)
		if err != nil {
			os.Exit(2)
		}
		os.Exit(runReplayExecutor(os.Args[2], scale, os.Args[4]))
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "5"); err != nil { // replays mostly wait
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(m.Run())
}
