package stack

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// clusterID is the same for all: each broker is a cluster of its own, told apart by its address.
const clusterID = "4L6g3nShT-eMCtK--X86sw"

// kafkaConfig fills in server.properties.
type kafkaConfig struct {
	Dir                  string
	Host                 string
	Port, ControllerPort int
}

// formatKafka makes, once for all brokers, the data directory that each starts with: formatting
// takes longer than starting.
func formatKafka(ctx context.Context, p program, n *nursery) error {
	dir := filepath.Join(p.dir, "formatted")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	// The address is not part of what is formatted.
	if err := writeConfig(dir, kafkaConfig{Dir: dir, Host: "127.0.0.1", Port: 1, ControllerPort: 2}, "server.properties"); err != nil {
		return err
	}
	argv, err := p.command(small("64m", "64m"), "kafka.tools.StorageTool",
		"format", "-t", clusterID, "-c", filepath.Join(dir, "server.properties"))
	if err != nil {
		return err
	}
	if err := runTool(ctx, n, nil, argv); err != nil {
		return fmt.Errorf("format a data directory for Kafka: %w", err)
	}
	return nil
}

func kafkaRecipe(p program, at place, dir string) (recipe, error) {
	config := kafkaConfig{Dir: dir, Host: at.host(1), Port: at.ports.Kafka, ControllerPort: at.ports.Kafka + 1}
	if err := writeConfig(dir, config, "server.properties", "log4j2.properties"); err != nil {
		return recipe{}, err
	}
	if err := copyWhole(filepath.Join(p.dir, "formatted", "data"), filepath.Join(dir, "data")); err != nil {
		return recipe{}, fmt.Errorf("copy Kafka's formatted data directory: %w", err)
	}
	options := append(small("64m", "64m"),
		"-XX:ReservedCodeCacheSize=48m", "-XX:MaxDirectMemorySize=64m",
		"-Dlog4j2.configurationFile=file://"+filepath.Join(dir, "log4j2.properties"))
	temporary, err := tidy(dir)
	if err != nil {
		return recipe{}, err
	}
	argv, err := p.command(append(options, temporary...), "kafka.Kafka", filepath.Join(dir, "server.properties"))
	if err != nil {
		return recipe{}, err
	}
	address := net.JoinHostPort(config.Host, strconv.Itoa(config.Port))
	return recipe{
		name: "kafka", address: address, dir: dir, argv: argv,
		ready: func(ctx context.Context) error { return probeKafka(ctx, address) },
	}, nil
}

// copyWhole copies a directory unless it is there already: what is there was copied whole.
func copyWhole(from, to string) error {
	if exists(to) {
		return nil
	}
	part := to + ".part"
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	if err := os.CopyFS(part, os.DirFS(from)); err != nil {
		return err
	}
	return os.Rename(part, to)
}

// probeKafka asks for the brokers that the controller lets serve: those in the metadata.
func probeKafka(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	// The client waits longer and longer between attempts; it is not made before a port answers.
	if err := dial(ctx, address); err != nil {
		return fmt.Errorf("ask Kafka at %s: %w", address, err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.RequestRetries(0), kgo.DialTimeout(time.Second))
	if err != nil {
		return fmt.Errorf("ask Kafka at %s: %w", address, err)
	}
	defer client.Close()
	meta, err := kadm.NewClient(client).BrokerMetadata(ctx)
	if err != nil {
		return fmt.Errorf("ask Kafka at %s: %w", address, err)
	}
	if len(meta.Brokers) == 0 {
		return fmt.Errorf("ask Kafka at %s: the controller has not let the broker serve yet", address)
	}
	return nil
}

func dial(ctx context.Context, address string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}
