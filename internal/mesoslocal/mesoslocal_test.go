package mesoslocal

import (
	"flag"
	"fmt"
	"os"
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
		os.Exit(runReplayExecutor(os.Args[2], os.Args[3], os.Args[4]))
	}
	if len(os.Args) == 4 && os.Args[1] == sleepArgument {
		os.Exit(replaySleep(os.Args[2], os.Args[3]))
	}
	if len(os.Args) > 3 && os.Args[1] == clockArgument {
		os.Exit(runClockedHelper(os.Args[2], os.Args[3:]))
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "5"); err != nil { // replays mostly wait
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(m.Run())
}
