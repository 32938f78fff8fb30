package wire

import (
	"fmt"
	"net"
	"strings"
)

// MasterNode is the prefix under which masters register in ZooKeeper: the lowest
// sequence number leads, and the node's JSON holds the master's address.
const MasterNode = "json.info_"

// ParseZooKeeper splits zk://host:port,host:port/path.
func ParseZooKeeper(url string) (servers []string, dir string, err error) {
	rest, ok := strings.CutPrefix(url, "zk://")
	hosts, dir, found := strings.Cut(rest, "/")
	if !ok || !found || hosts == "" || dir == "" {
		return nil, "", fmt.Errorf("parse ZooKeeper address %q: want zk://host:port,…/path", url)
	}
	if _, after, auth := strings.Cut(hosts, "@"); auth {
		hosts = after
	}
	for host := range strings.SplitSeq(hosts, ",") {
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(host, "2181")
		}
		servers = append(servers, host)
	}
	return servers, "/" + strings.Trim(dir, "/"), nil
}
