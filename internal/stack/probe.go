package stack

import (
	"context"
	"fmt"
	"strings"
)

// Probe asks the server of that name, at that address, by its own protocol whether it is ready.
func Probe(ctx context.Context, name, address string) error {
	kind, _, _ := strings.Cut(name, "-")
	switch kind {
	case "zookeeper":
		return probeZooKeeper(ctx, address)
	case "kafka":
		return probeKafka(ctx, address)
	case "cassandra":
		return probeCassandra(ctx, address)
	case "s3":
		return probeS3(ctx, address)
	default:
		return fmt.Errorf("ask %s at %s: no such kind of server", name, address)
	}
}
