package stack

import (
	"context"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEvenTokensDivideTheRing(t *testing.T) {
	for _, nodes := range []int{1, 2, 3, 5} {
		var ring []*big.Int
		for node := range nodes {
			for token := range strings.SplitSeq(evenTokens(node, nodes, tokensPerNode), ",") {
				n, ok := new(big.Int).SetString(token, 10)
				if !ok || !n.IsInt64() {
					t.Fatalf("%d nodes: token %q is not 64 bits", nodes, token)
				}
				ring = append(ring, n)
			}
		}
		slices.SortFunc(ring, (*big.Int).Cmp)
		step := new(big.Int).Div(new(big.Int).Lsh(big.NewInt(1), 64), big.NewInt(int64(nodes*tokensPerNode)))
		for i := 1; i < len(ring); i++ {
			if gap := new(big.Int).Sub(ring[i], ring[i-1]); gap.Cmp(step) != 0 {
				t.Errorf("%d nodes: gap %d is %s, want %s", nodes, i, gap, step)
			}
		}
	}
}

func TestNodesAreDealtOut(t *testing.T) {
	for _, test := range []struct {
		name               string
		count              int
		dataCenters, racks []string
		want               []Node
	}{
		{"plain", 2, nil, nil, []Node{{"dc1", "r1"}, {"dc1", "r1"}}},
		{"racks", 3, nil, []string{"a", "b"}, []Node{{"dc1", "a"}, {"dc1", "b"}, {"dc1", "a"}}},
		{"both", 4, []string{"x", "y"}, []string{"a", "b"}, []Node{{"x", "a"}, {"y", "a"}, {"x", "b"}, {"y", "b"}}},
	} {
		if diff := cmp.Diff(test.want, Nodes(test.count, test.dataCenters, test.racks)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestAddressesSurviveTheEnvironment(t *testing.T) {
	at := place{network: "127.1.2", ports: DefaultPorts()}
	for name, o := range map[string]Options{
		"single": Single(),
		"many":   {ZooKeeper: 3, Cassandra: Nodes(3, nil, nil)},
		"kafka":  {Kafka: true},
	} {
		t.Run(name, func(t *testing.T) {
			want := addressesOf(at, o)
			env := map[string]string{}
			for _, line := range want.Environment(TestPrefix) {
				key, value, _ := strings.Cut(line, "=")
				env[key] = value
			}
			got, err := FromEnvironment(TestPrefix, func(key string) string { return env[key] })
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("addresses (-want +got):\n%s", diff)
			}
			if other, err := FromEnvironment(UserPrefix, func(key string) string { return env[key] }); err != nil || other.ZooKeeper != "" || other.Kafka != nil {
				t.Errorf("the user's variables gave %v, %v", other, err)
			}
		})
	}
}

func TestS3AddressWithoutCredentialsIsRefused(t *testing.T) {
	_, err := FromEnvironment(UserPrefix, func(key string) string {
		if key == "TIDEMILL_S3" {
			return "http://127.0.0.1:7070"
		}
		return ""
	})
	if err == nil || !strings.Contains(err.Error(), "TIDEMILL_S3") {
		t.Errorf("got %v, want an error naming the variable", err)
	}
}

func TestJavaMajor(t *testing.T) {
	for output, want := range map[string]int{
		`openjdk version "17.0.15" 2025-04-15`: 17,
		`openjdk version "21" 2023-09-19`:      21,
		`java version "1.8.0_402"`:             1,
	} {
		if got, err := javaMajor([]byte(output)); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", output, got, err, want)
		}
	}
	if _, err := javaMajor([]byte("no such thing")); err == nil {
		t.Error("got no error without a version")
	}
}

// TestAnOldJavaIsRefusedThoughTheJarsAreThere: another JVM may come first on the PATH later.
func TestAnOldJavaIsRefusedThoughTheJarsAreThere(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "java")
	if err := os.WriteFile(old, []byte("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cache, err := openCache(dir, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	p := programs{zookeeper: program{java: java{path: old}, dir: dir, archive: filepath.Join(dir, "classes.jsa")}}
	err = fetcher{cache: cache}.archiveClasses(t.Context(), Options{ZooKeeper: 1}, p)
	if !errors.Is(err, ErrNoJava) || !strings.Contains(err.Error(), "version 11") || exists(p.zookeeper.archive) {
		t.Errorf("got %v, want an error that names the version and make setup", err)
	}
}

func TestACacheEntryIsBuiltOnceAndWhole(t *testing.T) {
	c, err := openCache(t.TempDir(), func(string, ...any) {})
	if err != nil {
		t.Fatal(err)
	}
	var builds atomic.Int32
	build := func(_ context.Context, dir string) error {
		builds.Add(1)
		return os.WriteFile(filepath.Join(dir, "file"), []byte("whole"), 0o644)
	}
	failed := errors.New("download cut")
	if _, err := c.entry(t.Context(), "entry", func(ctx context.Context, dir string) error {
		return errors.Join(build(ctx, dir), failed)
	}); !errors.Is(err, failed) {
		t.Fatalf("got %v, want the build's error", err)
	}
	if exists(filepath.Join(c.dir, "entry")) {
		t.Fatal("a failed build left its entry")
	}
	builds.Store(0)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			dir, err := c.entry(t.Context(), "entry", build)
			if err != nil {
				t.Error(err)
				return
			}
			if content, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(content) != "whole" {
				t.Errorf("got %q, %v", content, err)
			}
		})
	}
	wg.Wait()
	if got := builds.Load(); got != 1 {
		t.Errorf("built %d times, want once", got)
	}
}

func TestALockIsWaitedForNoLongerThanTheContext(t *testing.T) {
	said := make(chan string, 1)
	c, err := openCache(t.TempDir(), func(format string, _ ...any) { said <- format })
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := c.lock(t.Context(), "thing")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancelCause(t.Context())
	tired := errors.New("tired of waiting")
	go func() {
		<-said
		cancel(tired)
	}()
	if _, err := c.lock(ctx, "thing"); !errors.Is(err, tired) {
		t.Errorf("got %v, want the context's cause", err)
	}
}

func TestAPlaceAvoidsTakenPorts(t *testing.T) {
	o := Options{S3: true}
	at, err := findPlace(o)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(at.network, "127.0.") {
		t.Errorf("took %s, where a user's own servers are", at.network)
	}
}
