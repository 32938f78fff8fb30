package main

import (
	"context"
	"fmt"

	"github.com/rs/zerolog"

	"tidemill/internal/config"
	"tidemill/internal/demo"
	"tidemill/internal/stack"
)

// demoCmd runs the whole way of the data and checks it.
type demoCmd struct {
	Events int  `default:"100000" placeholder:"N" help:"Distinct valid events to send (default ${default})."`
	Keep   bool `help:"Stay up after the check, until Ctrl-C."`

	// No environment variables: a stack that happens to be up is not the demo's.
	ZK        string   `name:"zk" placeholder:"HOST:PORT,..." help:"Your ZooKeeper, instead of one of the demo's own."`
	Kafka     []string `placeholder:"HOST:PORT,..." help:"Your Kafka."`
	Cassandra []string `placeholder:"HOST[:PORT],..." help:"Your Cassandra."`
	S3        string   `name:"s3" placeholder:"URL" help:"Your S3, as http://KEY:SECRET@host:port?region=NAME."`
}

// Help says more than one line.
func (demoCmd) Help() string {
	return "Starts real servers, a local Mesos and two schedulers; sends events whose totals are known, kills a scheduler, " +
		"an executor and an agent meanwhile, and compares every total; then archives, truncates, restores and compares again. " +
		"On servers of yours it makes a keyspace, topics, a bucket and paths with names of its own, and leaves them there."
}

// Run runs the demo; its last line is "demo: ok", or says what differs.
func (c *demoCmd) Run(ctx context.Context, out console, log zerolog.Logger) error {
	at := stack.Addresses{ZooKeeper: c.ZK, Kafka: c.Kafka, Cassandra: c.Cassandra}
	if c.S3 != "" {
		options, err := config.Flags{S3: c.S3}.Options("")
		if err != nil {
			return err
		}
		conn := options.Connections.S3["default"]
		at.S3 = stack.S3{Endpoint: conn.Endpoint, Region: conn.Region, AccessKey: conn.AccessKey, SecretKey: conn.SecretKey}
	}
	program, err := executable()
	if err != nil {
		return err
	}
	known, err := kinds()
	if err != nil {
		return err
	}
	err = demo.Run(ctx, demo.Options{
		Events: c.Events, Keep: c.Keep, Servers: at, Program: program, Kinds: known, Out: out.Out, Log: log.Level(max(zerolog.WarnLevel, log.GetLevel())),
	})
	switch {
	case err != nil && ctx.Err() != nil:
		fmt.Fprintln(out.Out, "\ndemo: interrupted")
		return &exitError{Code: exitFailed}
	case err != nil:
		fmt.Fprintf(out.Out, "\ndemo: failed: %v\n", err)
		return &exitError{Code: exitFailed}
	}
	fmt.Fprintln(out.Out, "\ndemo: ok")
	return nil
}
