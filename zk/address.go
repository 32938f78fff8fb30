package zk

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

const defaultPort = "2181"

// Address names an ensemble, a path in it, and who we are to it.
type Address struct {
	Servers []string // host:port each
	Path    string   // absolute
	Auth    string   // "user:password" of the digest scheme; empty: nobody in particular
}

// String is the address as ParseAddress takes it, without the password.
func (a Address) String() string {
	user, _, known := strings.Cut(a.Auth, ":")
	if known {
		user += ":***@"
	}
	return "zk://" + user + strings.Join(a.Servers, ",") + a.Path
}

// ParseAddress reads zk://user:password@host1:port1,host2:port2/path, as Mesos writes it. The
// user, the ports and the path may be missing.
func ParseAddress(text string) (Address, error) {
	var a Address
	rest, ok := strings.CutPrefix(text, "zk://")
	if !ok {
		return a, addressError(text, "it does not begin with zk://")
	}
	// A password may contain anything, a slash and an @ included.
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		a.Auth, rest = rest[:at], rest[at+1:]
		if user, _, ok := strings.Cut(a.Auth, ":"); !ok || user == "" {
			return Address{}, addressError(text, "before the @ it needs user:password")
		}
	}
	hosts, path, _ := strings.Cut(rest, "/")
	for host := range strings.SplitSeq(hosts, ",") {
		server, err := withPort(strings.TrimSpace(host))
		if err != nil {
			return Address{}, addressError(text, err.Error())
		}
		a.Servers = append(a.Servers, server)
	}
	a.Path = "/" + strings.Trim(path, "/")
	for part := range strings.SplitSeq(a.Path[1:], "/") {
		if a.Path != "/" && (part == "" || part == "." || part == "..") {
			return Address{}, addressError(text, fmt.Sprintf("its path has a part %q", part))
		}
	}
	return a, nil
}

func withPort(host string) (string, error) {
	if host == "" {
		return "", fmt.Errorf("a host is empty")
	}
	if name, port, err := net.SplitHostPort(host); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || name == "" {
			return "", fmt.Errorf("%q is no host:port", host)
		}
		return net.JoinHostPort(name, port), nil
	}
	bare := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if bare == "" || strings.ContainsAny(bare, "[]") || strings.Contains(bare, ":") && net.ParseIP(bare) == nil {
		return "", fmt.Errorf("%q is no host:port", host)
	}
	return net.JoinHostPort(bare, defaultPort), nil
}

// addressError leaves out what may be a password.
func addressError(text, why string) error {
	if at := strings.LastIndexByte(text, '@'); at >= 0 {
		text = "zk://…" + text[at:]
	}
	return fmt.Errorf("ZooKeeper address %q: %s (it is written zk://host1:2181,host2:2181/path)", text, why)
}
