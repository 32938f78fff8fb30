package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"tidemill/deploy/poms"
)

// A distribution says what of a Java server is kept in the cache.
type distribution struct {
	name    string
	title   string
	prepare func(ctx context.Context, p program, n *nursery) error
}

// The sizes are only told, so that who waits knows for what.
var (
	zookeeperJars = distribution{name: "zookeeper", title: "ZooKeeper 3.9.5 jars (14 MB)"}
	kafkaJars     = distribution{name: "kafka", title: "Kafka 4.4.0 jars (43 MB)", prepare: formatKafka}
	cassandraJars = distribution{name: "cassandra", title: "Cassandra 5.0.9 jars (67 MB)"}
)

// copyDependencies pins the plugin: Maven's default differs from one installation to the next.
const copyDependencies = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"

// The S3 server, versitygw, is the one program here that is not Java.
const (
	versitygwModule  = "github.com/versity/versitygw/cmd/versitygw"
	versitygwVersion = "v1.8.0"
)

// fetcher gets server programs into the cache.
type fetcher struct {
	cache   cache
	nursery *nursery
}

// jars returns the program of a distribution, downloaded by Maven when the cache has it not.
func (f fetcher) jars(ctx context.Context, d distribution) (program, error) {
	jvm, err := findJava()
	if err != nil {
		return program{}, err
	}
	pom, err := poms.Read(d.name)
	if err != nil {
		return program{}, err
	}
	dir, err := f.cache.entry(ctx, d.name+"-"+fingerprint(pom), func(ctx context.Context, dir string) error {
		return f.download(ctx, d, pom, jvm, dir)
	})
	if err != nil {
		return program{}, fmt.Errorf("get %s: %w", d.title, err)
	}
	return program{java: jvm, dir: dir, archive: filepath.Join(dir, "classes-"+jvm.build+".jsa")}, nil
}

func (f fetcher) download(ctx context.Context, d distribution, pom []byte, jvm java, dir string) error {
	if err := jvm.check(ctx); err != nil {
		return err
	}
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return fmt.Errorf("find mvn: %w: %w", err, ErrNoJava)
	}
	// Maven's local repository is not made for several writers.
	unlock, err := f.cache.lock(ctx, "maven")
	if err != nil {
		return err
	}
	defer unlock()
	file := filepath.Join(dir, "pom.xml")
	if err := os.WriteFile(file, pom, 0o644); err != nil {
		return err
	}
	defer f.tell("downloading " + d.title)()
	err = f.run(ctx, nil, mvn, "-q", "-B", "-ntp", "-f", file, copyDependencies,
		"-DincludeScope=runtime", "-DoutputDirectory="+filepath.Join(dir, "lib"))
	if err != nil || d.prepare == nil {
		return err
	}
	return d.prepare(ctx, program{java: jvm, dir: dir, archive: filepath.Join(dir, "none.jsa")}, f.nursery)
}

// versitygw returns the path of the S3 server, built when the cache has it not.
func (f fetcher) versitygw(ctx context.Context) (string, error) {
	dir, err := f.cache.entry(ctx, "versitygw-"+versitygwVersion, func(ctx context.Context, dir string) error {
		goTool, err := exec.LookPath("go")
		if err != nil {
			return fmt.Errorf("find go, which builds it: %w (run `make setup`)", err)
		}
		defer f.tell("building versitygw " + versitygwVersion + ", the S3 server (up to 2 minutes)")()
		// The flags of whoever builds Tidemill are not meant for this build.
		env := append(os.Environ(), "GOBIN="+dir, "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0")
		return f.run(ctx, env, goTool, "install", "-trimpath", "-ldflags=-s -w", versitygwModule+"@"+versitygwVersion)
	})
	if err != nil {
		return "", fmt.Errorf("get versitygw %s: %w", versitygwVersion, err)
	}
	return filepath.Join(dir, "versitygw"), nil
}

// run runs a tool to its end; its output is shown only when it fails.
func (f fetcher) run(ctx context.Context, env []string, tool string, args ...string) error {
	return runTool(ctx, f.nursery, env, append([]string{tool}, args...))
}

// tell reports that something long begins, and, when what it returns is called, how long it took.
func (f fetcher) tell(what string) func() {
	f.cache.say("%s…", what)
	start := time.Now()
	return func() { f.cache.say("%s… %.0f s", what, time.Since(start).Seconds()) }
}

// runTool runs a command that is expected to end by itself.
func runTool(ctx context.Context, n *nursery, env, argv []string) error {
	output, err := os.CreateTemp("", "tidemill-tool-")
	if err != nil {
		return fmt.Errorf("run %s: %w", argv[0], err)
	}
	defer func() { _, _ = output.Close(), os.Remove(output.Name()) }()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, output, output
	// Maven and go have children of their own: all of the group go.
	cmd.Cancel = func() error { return killGroup(cmd.Process) }
	if err := n.start(cmd); err != nil {
		return fmt.Errorf("run %s: %w", argv[0], err)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("run %s: %w: %s", argv[0], errors.Join(err, context.Cause(ctx)), tail(output.Name()))
	}
	return nil
}
