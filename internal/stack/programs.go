package stack

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// programs are what a stack's servers run; those of servers it has not are empty.
type programs struct {
	zookeeper, kafka, cassandra program
	versitygw                   string
}

// fetchPrograms gets the programs that o's servers need, with their class archives.
func fetchPrograms(ctx context.Context, o Options, n *nursery) (programs, error) {
	cache, err := openCache(o.Cache, o.sayer())
	if err != nil {
		return programs{}, err
	}
	f := fetcher{cache: cache, nursery: n}
	var p programs
	err = each(ctx, []func(context.Context) error{
		func(ctx context.Context) error { return f.allJars(ctx, o, &p) },
		func(ctx context.Context) (err error) {
			if o.S3 {
				p.versitygw, err = f.versitygw(ctx)
			}
			return err
		},
	}, func(ctx context.Context, get func(context.Context) error) error { return get(ctx) })
	if err != nil {
		return programs{}, err
	}
	return p, f.archiveClasses(ctx, o, p)
}

func (f fetcher) allJars(ctx context.Context, o Options, p *programs) error {
	for _, want := range []struct {
		wanted       bool
		distribution distribution
		into         *program
	}{
		{o.ZooKeeper > 0, zookeeperJars, &p.zookeeper},
		{o.Kafka, kafkaJars, &p.kafka},
		{len(o.Cassandra) > 0, cassandraJars, &p.cassandra},
	} {
		if !want.wanted {
			continue
		}
		got, err := f.jars(ctx, want.distribution)
		if err != nil {
			return err
		}
		*want.into = got
	}
	return nil
}

// recipes says how to start each server of o, with its directory below dir.
func (p programs) recipes(at place, dir string, o Options) ([]recipe, error) {
	var recipes []recipe
	add := func(name string, make func(dir string) (recipe, error)) error {
		own := filepath.Join(dir, name)
		if err := os.MkdirAll(own, 0o755); err != nil {
			return err
		}
		r, err := make(own)
		recipes = append(recipes, r)
		return err
	}
	for i := range o.ZooKeeper {
		if err := add(fmt.Sprintf("zookeeper-%d", i+1), func(dir string) (recipe, error) {
			return zookeeperRecipe(p.zookeeper, at, dir, i+1, o.ZooKeeper, cmp.Or(o.ZooKeeperHeap, "64m"))
		}); err != nil {
			return nil, err
		}
	}
	if o.Kafka {
		if err := add("kafka", func(dir string) (recipe, error) { return kafkaRecipe(p.kafka, at, dir) }); err != nil {
			return nil, err
		}
	}
	for i := range o.Cassandra {
		if err := add(fmt.Sprintf("cassandra-%d", i+1), func(dir string) (recipe, error) {
			return cassandraRecipe(p.cassandra, at, dir, i+1, o)
		}); err != nil {
			return nil, err
		}
	}
	if o.S3 {
		if err := add("s3", func(dir string) (recipe, error) { return s3Recipe(p.versitygw, at, dir) }); err != nil {
			return nil, err
		}
	}
	return recipes, nil
}
