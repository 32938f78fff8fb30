package stack

import (
	"context"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"strconv"
	"strings"
)

// tokensPerNode is small: scans are planned by token ranges, and tests read every one.
const tokensPerNode = 4

// Node is the place of a Cassandra node in the topology.
type Node struct {
	DataCenter string `json:"data_center"`
	Rack       string `json:"rack"`
}

// Nodes returns the places of count nodes. Data centers and racks are dealt out in turn; without
// any, all nodes are in rack r1 of dc1.
func Nodes(count int, dataCenters, racks []string) []Node {
	if len(dataCenters) == 0 {
		dataCenters = []string{"dc1"}
	}
	if len(racks) == 0 {
		racks = []string{"r1"}
	}
	nodes := make([]Node, count)
	for i := range nodes {
		// Racks advance once all data centers had a node, so that each has all the racks.
		nodes[i] = Node{DataCenter: dataCenters[i%len(dataCenters)], Rack: racks[i/len(dataCenters)%len(racks)]}
	}
	return nodes
}

// cassandraConfig fills in cassandra.yaml and the files beside it.
type cassandraConfig struct {
	Dir               string
	Host, Seed        string
	Port, StoragePort int
	Tokens            int
	InitialToken      string
	PeriodicCommitLog bool
	DataCenter, Rack  string
}

func cassandraRecipe(p program, at place, dir string, number int, o Options) (recipe, error) {
	node := o.Cassandra[number-1]
	config := cassandraConfig{
		Dir: dir, Host: at.host(number), Seed: at.host(1),
		Port: at.ports.Cassandra, StoragePort: at.ports.Cassandra + 1,
		Tokens: tokensPerNode, InitialToken: evenTokens(number-1, len(o.Cassandra), tokensPerNode),
		PeriodicCommitLog: o.PeriodicCommitLog,
		DataCenter:        node.DataCenter, Rack: node.Rack,
	}
	if err := writeConfig(dir, config, "cassandra.yaml", "cassandra-rackdc.properties", "logback.xml"); err != nil {
		return recipe{}, err
	}
	options := append(small("128m", "256m"), "-XX:+ExitOnOutOfMemoryError")
	options = append(options, cassandraAccess()...)
	options = append(options, cassandraProperties(dir)...)
	temporary, err := tidy(dir)
	if err != nil {
		return recipe{}, err
	}
	argv, err := p.command(append(options, temporary...), "org.apache.cassandra.service.CassandraDaemon")
	if err != nil {
		return recipe{}, err
	}
	address := net.JoinHostPort(config.Host, strconv.Itoa(config.Port))
	return recipe{
		name: fmt.Sprintf("cassandra-%d", number), address: address, dir: dir, argv: argv,
		env:   []string{"MALLOC_ARENA_MAX=2"},
		ready: func(ctx context.Context) error { return probeCassandra(ctx, address) },
	}, nil
}

// evenTokens are node's tokens such that the tokens of all nodes divide the ring evenly:
// -2^63 + (k*nodes + node) * 2^64/(nodes*count).
func evenTokens(node, nodes, count int) string {
	step := new(big.Int).Div(new(big.Int).Lsh(big.NewInt(1), 64), big.NewInt(int64(nodes*count)))
	tokens := make([]string, count)
	for k := range tokens {
		token := new(big.Int).Mul(step, big.NewInt(int64(k*nodes+node)))
		token.Sub(token, new(big.Int).Lsh(big.NewInt(1), 63))
		tokens[k] = token.String()
	}
	return strings.Join(tokens, ",")
}

// cassandraAccess opens the parts of the JDK that Cassandra reaches into.
func cassandraAccess() []string {
	var flags []string
	for _, access := range []struct {
		flag     string
		packages []string
	}{
		{"--add-exports", []string{
			"java.base/jdk.internal.misc", "java.base/java.lang.ref",
			"java.management.rmi/com.sun.jmx.remote.internal.rmi",
			"java.rmi/sun.rmi.registry", "java.rmi/sun.rmi.server", "java.sql/java.sql",
			"jdk.unsupported/sun.misc", "jdk.attach/sun.tools.attach",
			"jdk.compiler/com.sun.tools.javac.file",
		}},
		{"--add-opens", []string{
			"java.base/java.io", "java.base/java.lang", "java.base/java.lang.module",
			"java.base/java.lang.reflect", "java.base/java.nio", "java.base/java.util",
			"java.base/java.util.concurrent", "java.base/java.util.concurrent.atomic",
			"java.base/jdk.internal.loader", "java.base/jdk.internal.math",
			"java.base/jdk.internal.module", "java.base/jdk.internal.ref",
			"java.base/jdk.internal.reflect", "java.base/jdk.internal.util.jar",
			"java.base/sun.nio.ch", "java.rmi/sun.rmi.transport.tcp",
			"jdk.compiler/com.sun.tools.javac", "jdk.management/com.sun.management.internal",
		}},
	} {
		for _, name := range access.packages {
			flags = append(flags, access.flag, name+"=ALL-UNNAMED")
		}
	}
	return flags
}

func cassandraProperties(dir string) []string {
	return []string{
		"-Djdk.attach.allowAttachSelf=true",
		"-Dio.netty.tryReflectionSetAccessible=true",
		"-Dcassandra.config=file://" + filepath.Join(dir, "cassandra.yaml"),
		"-Dcassandra-rackdc.properties=file://" + filepath.Join(dir, "cassandra-rackdc.properties"),
		"-Dlogback.configurationFile=" + filepath.Join(dir, "logback.xml"),
		"-Dcassandra.storagedir=" + dir,
		"-Dcassandra.logdir=" + dir,
		"-Dcassandra.triggers_dir=" + filepath.Join(dir, "triggers"),
		"-Dcassandra-foreground=yes",
		"-Dcassandra.skip_wait_for_gossip_to_settle=0",
		// Long, or nodes give up when the seed starts slowly; it costs nothing without bootstrap.
		"-Dcassandra.ring_delay_ms=30000",
		"-Dcassandra.shutdown_announce_in_ms=0",
		"-Dcassandra.superuser_setup_delay_ms=0",
		// Measuring it takes 2.7 s of every start.
		"-Dcassandra.memtable.row_overhead_size=181",
		// No fsync: what is killed here is the process, never the machine.
		"-Dcassandra.skip_sync=true",
		"-Dcassandra.test.ignore_sigar=true",
		// Seconds; scans are planned by these estimates, and tests do not wait 5 minutes for them.
		"-Dcassandra.size_recorder_interval=10",
	}
}

// probeCassandra asks, in CQL's own protocol, for the options that a node supports.
func probeCassandra(ctx context.Context, address string) error {
	const version, noFlags, options, supported = 0x04, 0x00, 0x05, 0x06
	answer, err := exchange(ctx, address, []byte{version, noFlags, 0, 0, options, 0, 0, 0, 0}, 9)
	if err != nil {
		return fmt.Errorf("ask Cassandra at %s: %w", address, err)
	}
	if len(answer) < 9 || answer[4] != supported {
		return fmt.Errorf("ask Cassandra at %s: unexpected answer % x", address, answer)
	}
	return nil
}
