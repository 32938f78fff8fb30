package mesoslocal

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"tidemill/internal/lifeline"
	"tidemill/internal/mesoslocal/cluster"
)

// runMember is a member of a cluster: the tests of this package cannot build the program
// whose command it stands for.
func runMember(args []string) int {
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	addr, dir := flags.String("addr", "", ""), flags.String("work-dir", "", "")
	master, hostname := flags.String("master", "", ""), flags.String("hostname", "", "")
	zk := flags.String("zk", "", "")
	if err := flags.Parse(args[1:]); err != nil {
		return 2
	}
	if err := lifeline.Watch(func() { os.Exit(1) }); err != nil {
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGUSR1)
	defer stop()
	var err error
	var member interface {
		Addr() string
		Stop()
	}
	if args[0] == "master" {
		member, err = StartMaster(ctx, MasterOptions{Addr: *addr, WorkDir: *dir, ZooKeeper: *zk})
	} else {
		member, err = StartAgent(ctx, AgentOptions{Addr: *addr, WorkDir: *dir, Master: *master, Hostname: *hostname})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := json.NewEncoder(os.Stdout).Encode(cluster.Ready{Addr: member.Addr()}); err != nil {
		return 1
	}
	<-ctx.Done()
	member.Stop()
	return 0
}
