package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tidemill/internal/client"
	"tidemill/internal/config"
)

type doctorCmd struct {
	config.Flags
	Dir string `default:"." type:"path" help:"Folder whose disk is checked."`
}

// finding is the result of one check.
type finding struct {
	Check   string  `json:"check"`
	Level   verdict `json:"level"`
	Message string  `json:"message"`
	Hint    string  `json:"hint,omitempty"` // what to do
}

type verdict string

const (
	fine    verdict = "ok"
	warning verdict = "warn" // something will not work, but not everything
	failure verdict = "fail"
)

// dialTimeout bounds each address that is tried.
const dialTimeout = 2 * time.Second

// Run makes every check, prints all findings and fails if one of them does.
func (c *doctorCmd) Run(ctx context.Context, g *globals, out console) error {
	o, err := c.Options(g.TokenFile)
	if err != nil {
		return err
	}
	found := []finding{javaCheck(ctx), mavenCheck(), diskCheck(c.Dir), memoryCheck(), filesCheck(), apiCheck(ctx, g)}
	secure, err := mesosTLS(o)
	if err != nil {
		return err
	}
	addresses := addressesOf(o, secure)
	for _, a := range addresses {
		found = append(found, a.check(ctx))
	}
	found = append(found, stackPorts(addresses)...)
	err = g.print(out, found, func(w io.Writer) {
		for _, f := range found {
			hint := ""
			if f.Level != fine {
				hint = f.Hint
			}
			row(w, f.Level, f.Check, strings.TrimSpace(f.Message+" "+parenthesis(hint)))
		}
	})
	if bad := countLevel(found, failure); err == nil && bad > 0 {
		err = fmt.Errorf("%d %s failed", bad, plural(bad, "check"))
	}
	return err
}

func parenthesis(s string) string {
	if s == "" {
		return ""
	}
	return "(" + s + ")"
}

func countLevel(found []finding, level verdict) (n int) {
	for _, f := range found {
		if f.Level == level {
			n++
		}
	}
	return n
}

var javaVersion = regexp.MustCompile(`version "(?:1\.)?(\d+)`)

const leastJava = 17

func javaCheck(ctx context.Context) finding {
	f := finding{Check: "java", Level: warning, Hint: "make setup; only the real servers of \"tidemill stack\" need it"}
	path, err := exec.LookPath("java")
	if err != nil {
		f.Message = "no Java on the PATH"
		return f
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	text, err := exec.CommandContext(ctx, path, "-version").CombinedOutput()
	m := javaVersion.FindSubmatch(text)
	if err != nil || m == nil {
		f.Message = fmt.Sprintf("%s does not say its version: %v", path, err)
		return f
	}
	if v, _ := strconv.Atoi(string(m[1])); v < leastJava { // digits, by the pattern
		f.Message = fmt.Sprintf("%s is Java %s; %d or later is needed", path, m[1], leastJava)
		return f
	}
	f.Level, f.Message = fine, fmt.Sprintf("Java %s", m[1])
	return f
}

func mavenCheck() finding {
	if path, err := exec.LookPath("mvn"); err == nil {
		return finding{Check: "maven", Level: fine, Message: path}
	}
	return finding{Check: "maven", Level: warning, Message: "no mvn on the PATH",
		Hint: "make setup; it is needed once, to download the real servers"}
}

const (
	leastDisk   = 1 << 30
	comfortDisk = 5 << 30
	leastMemory = 3 << 30
	leastFiles  = 4096
)

func diskCheck(dir string) finding {
	f := finding{Check: "disk", Hint: "make room, or keep the state on another disk"}
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		f.Level, f.Message = failure, fmt.Sprintf("%s: %v", dir, err)
		return f
	}
	free := s.Bavail * uint64(s.Bsize)
	f.Message = fmt.Sprintf("%.1f GiB free at %s", float64(free)/(1<<30), dir)
	switch {
	case s.Flags&unix.ST_RDONLY != 0:
		f.Level, f.Message = failure, dir+" is on a read-only file system"
	case free < leastDisk:
		f.Level = failure
	case free < comfortDisk:
		f.Level = warning
	default:
		f.Level = fine
	}
	return f
}

var memAvailable = regexp.MustCompile(`(?m)^MemAvailable:\s+(\d+) kB`)

func memoryCheck() finding {
	f := finding{Check: "memory", Level: fine, Hint: "three Cassandra nodes, Kafka and ZooKeeper take about 3 GiB; leave servers out with --no-…"}
	text, err := os.ReadFile("/proc/meminfo")
	m := memAvailable.FindSubmatch(text)
	if err != nil || m == nil {
		f.Level, f.Message = warning, "not known: /proc/meminfo cannot be read"
		return f
	}
	kib, _ := strconv.ParseUint(string(m[1]), 10, 54) // digits, by the pattern
	f.Message = fmt.Sprintf("%.1f GiB available", float64(kib)/(1<<20))
	if kib<<10 < leastMemory {
		f.Level = warning
	}
	return f
}

func filesCheck() finding {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return finding{Check: "open files", Level: warning, Message: err.Error()}
	}
	f := finding{Check: "open files", Level: fine, Message: fmt.Sprintf("%d allowed", limit.Max), Hint: "raise it with ulimit -n"}
	if limit.Max < leastFiles {
		f.Level = warning
	}
	return f
}

func apiCheck(ctx context.Context, g *globals) finding {
	f := finding{Check: "api", Level: failure}
	api, err := g.client()
	if err != nil {
		f.Message = err.Error()
		return f
	}
	defer api.Close()
	api = api.WithPatience(0)
	ctx, cancel := context.WithTimeout(ctx, 2*dialTimeout)
	defer cancel()
	s, err := api.Status(ctx)
	var unreachable *client.UnreachableError
	switch {
	case errors.As(err, &unreachable) && errors.Is(err, syscall.ECONNREFUSED):
		f.Level, f.Message, f.Hint = warning, "no scheduler at "+g.API, "start one with \"tidemill local\""
	case err != nil:
		f.Message, f.Hint = err.Error(), "name the scheduler with --api; the port may be another program's"
	case !s.Subscribed || len(s.Problems) > 0:
		f.Level, f.Message, f.Hint = warning, "a scheduler at "+g.API+" has problems: "+strings.Join(s.Problems, "; "), "\"tidemill run list --live\" says what waits"
		if len(s.Problems) == 0 {
			f.Message = "the scheduler at " + g.API + " has no Mesos master"
		}
	default:
		f.Level, f.Message = fine, fmt.Sprintf("%s, master %s, %d jobs", g.API, s.Master, s.Jobs)
	}
	return f
}

// address is one that the configuration names.
type address struct {
	what, hostport string
	secure         *tls.Config // where it speaks TLS
}

func addressesOf(o config.Options, secure *tls.Config) []address {
	var list []address
	add := func(what, port string, hosts ...string) {
		for _, h := range hosts {
			if h == "" {
				continue
			}
			if _, _, err := net.SplitHostPort(h); err != nil {
				h = net.JoinHostPort(h, port)
			}
			list = append(list, address{what: what, hostport: h})
		}
	}
	servers := func(s string) []string {
		s = strings.TrimPrefix(s, "zk://")
		s = s[strings.LastIndexByte(s, '@')+1:] // before it are a user and a password
		s, _, _ = strings.Cut(s, "/")
		return strings.Split(s, ",")
	}
	add("zookeeper", "2181", servers(o.ZK)...)
	if strings.HasPrefix(o.Master, "zk://") {
		add("master", "2181", servers(o.Master)...)
	} else {
		add("master", "5050", servers(strings.NewReplacer("https://", "", "http://", "").Replace(o.Master))...)
		for i := range list {
			if list[i].what == "master" {
				list[i].secure = secure
			}
		}
	}
	for name, c := range o.Connections.Kafka {
		add("kafka "+name, "9092", c.Brokers...)
	}
	for name, c := range o.Connections.Cassandra {
		add("cassandra "+name, "9042", c.Hosts...)
	}
	for name, c := range o.Connections.S3 {
		if u, err := url.Parse(c.Endpoint); err == nil && u.Host != "" {
			port := "443"
			if u.Scheme == "http" {
				port = "80"
			}
			add("s3 "+name, port, u.Host)
		}
	}
	slices.SortStableFunc(list, func(a, b address) int { return strings.Compare(a.what, b.what) })
	return list
}

func (a address) check(ctx context.Context) finding {
	f := finding{Check: a.what, Level: fine, Message: a.hostport + " answers"}
	conn, err := a.dial(ctx)
	if err != nil {
		f.Level, f.Message, f.Hint = failure, err.Error(), "check the address, or start the servers with \"tidemill stack up\""
		return f
	}
	if err := conn.Close(); err != nil {
		f.Level, f.Message = warning, err.Error()
	}
	return f
}

func (a address) dial(ctx context.Context) (net.Conn, error) {
	plain := net.Dialer{Timeout: dialTimeout}
	if a.secure != nil {
		return (&tls.Dialer{NetDialer: &plain, Config: a.secure}).DialContext(ctx, "tcp", a.hostport)
	}
	return plain.DialContext(ctx, "tcp", a.hostport)
}

// stackPorts checks the ports that "stack up" takes, for servers of which the
// configuration names none.
func stackPorts(named []address) []finding {
	var out []finding
	for _, p := range []struct{ what, port, flag string }{
		{"zookeeper", "2181", "--zk-port"}, {"kafka", "9092", "--kafka-port"},
		{"cassandra", "9042", "--cassandra-port"}, {"s3", "7070", "--s3-port"},
	} {
		if slices.ContainsFunc(named, func(a address) bool { return strings.HasPrefix(a.what, p.what) }) {
			continue
		}
		f := finding{Check: "port " + p.port, Level: fine, Message: "free for " + p.what}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", p.port))
		if err != nil {
			f.Level, f.Message = warning, "taken, where \"tidemill stack up\" would start "+p.what
			f.Hint = "fine if that is the stack itself (\"tidemill stack status\"); else give " + p.flag
		} else if err := l.Close(); err != nil {
			f.Level, f.Message = warning, err.Error()
		}
		out = append(out, f)
	}
	return out
}
