package stack

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// probeTimeout bounds one question to a server whether it is ready.
const probeTimeout = 2 * time.Second

// zookeeperConfig fills in zoo.cfg.
type zookeeperConfig struct {
	Dir                          string
	Host                         string
	Port, PeerPort, ElectionPort int
	Ensemble                     []string
}

func zookeeperRecipe(p program, at place, dir string, number, ensemble int, heap string) (recipe, error) {
	config := zookeeperConfig{
		Dir: dir, Host: at.host(number),
		Port: at.ports.ZooKeeper, PeerPort: at.ports.ZooKeeper + 1, ElectionPort: at.ports.ZooKeeper + 2,
		Ensemble: at.hosts(ensemble),
	}
	if err := writeConfig(dir, config, "zoo.cfg"); err != nil {
		return recipe{}, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o755); err != nil {
		return recipe{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, "data", "myid"), []byte(strconv.Itoa(number)), 0o644); err != nil {
		return recipe{}, err
	}
	options := append(small("16m", heap),
		"-XX:ReservedCodeCacheSize=32m", "-XX:MaxDirectMemorySize=64m",
		"-Djava.net.preferIPv4Stack=true", "-Djute.maxbuffer=1048575", "-Dzookeeper.jmx.log4j.disable=true",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true")
	temporary, err := tidy(dir)
	if err != nil {
		return recipe{}, err
	}
	argv, err := p.command(append(options, temporary...), "org.apache.zookeeper.server.quorum.QuorumPeerMain", filepath.Join(dir, "zoo.cfg"))
	if err != nil {
		return recipe{}, err
	}
	address := net.JoinHostPort(config.Host, strconv.Itoa(config.Port))
	return recipe{
		name: fmt.Sprintf("zookeeper-%d", number), address: address, dir: dir, argv: argv,
		ready: func(ctx context.Context) error { return probeZooKeeper(ctx, address) },
	}, nil
}

// probeZooKeeper asks for the server's mode, which, unlike "ruok", it has only with a quorum.
func probeZooKeeper(ctx context.Context, address string) error {
	answer, err := exchange(ctx, address, []byte("srvr"), 4096)
	if err != nil {
		return fmt.Errorf("ask ZooKeeper at %s: %w", address, err)
	}
	if !bytes.Contains(answer, []byte("Mode:")) {
		return fmt.Errorf("ask ZooKeeper at %s: no quorum yet: %q", address, answer)
	}
	return nil
}

// exchange sends a request on a connection of its own and returns the answer, up to limit bytes.
func exchange(ctx context.Context, address string, request []byte, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	if _, err := conn.Write(request); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(conn, limit))
}
