package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"

	"tidemill/internal/mesoslocal/wire"
)

// leaderFromZooKeeper asks ZooKeeper once who leads: the registered master with the
// lowest sequence number.
func leaderFromZooKeeper(ctx context.Context, address string) (string, error) {
	servers, dir, err := wire.ParseZooKeeper(address)
	if err != nil {
		return "", err
	}
	conn, events, err := zk.Connect(servers, 10*time.Second, zk.WithLogger(silent{}))
	if err != nil {
		return "", fmt.Errorf("find the leading master: %w", err)
	}
	defer conn.Close()
	if err := awaitSession(ctx, events); err != nil {
		return "", fmt.Errorf("find the leading master: %w", err)
	}
	children, _, err := conn.Children(dir)
	if err != nil {
		return "", fmt.Errorf("find the leading master: %w", err)
	}
	children = slices.DeleteFunc(children, func(child string) bool { return !strings.HasPrefix(child, wire.MasterNode) })
	if len(children) == 0 {
		return "", errors.New("find the leading master: none is registered")
	}
	data, _, err := conn.Get(dir + "/" + slices.Min(children))
	if err != nil {
		return "", fmt.Errorf("find the leading master: %w", err)
	}
	var info struct {
		Address struct {
			IP   string `json:"ip"`
			Port int    `json:"port"`
		} `json:"address"`
	}
	if err := json.Unmarshal(data, &info); err != nil {
		return "", fmt.Errorf("find the leading master: %w", err)
	}
	return net.JoinHostPort(info.Address.IP, fmt.Sprint(info.Address.Port)), nil
}

func awaitSession(ctx context.Context, events <-chan zk.Event) error {
	timeout := time.NewTimer(5 * time.Second)
	defer timeout.Stop()
	for {
		select {
		case event := <-events:
			if event.State == zk.StateHasSession {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout.C:
			return errors.New("ZooKeeper does not answer")
		}
	}
}

// silent drops the ZooKeeper client's log: a failure comes back as an error.
type silent struct{}

func (silent) Printf(string, ...any) {}
