package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/rs/zerolog"
)

// commandLine is the tree of commands. Each command is a struct with a Run
// method, which may take any of what run binds: the context, *globals,
// console and zerolog.Logger.
type commandLine struct {
	globals `group:"Flags of every command:"`

	Local     localCmd     `cmd:"" help:"Run everything on this machine: scheduler, API and the local Mesos, in one process."`
	Scheduler schedulerCmd `cmd:"" help:"Run one of a cluster's schedulers."`
	Job       jobCmd       `cmd:"" help:"Validate, apply, list, show, run, pause, resume and delete jobs."`
	Run       runCmd       `cmd:"" help:"List, show and kill runs, and read their logs."`
	Agent     agentCmd     `cmd:"" help:"List the agents, and release those that are avoided."`
	Pool      poolCmd      `cmd:"" help:"Bound how many tasks of several jobs are at work at once."`
	Schedule  scheduleCmd  `cmd:"" help:"Try out schedules."`
	State     stateCmd     `cmd:"" help:"Export, import, check and upgrade what is stored."`
	Framework frameworkCmd `cmd:"" help:"Show, hold, release, reset and tear down what is registered with Mesos."`
	Import    importCmd    `cmd:"" help:"Take over jobs from another scheduler."`
	Export    exportCmd    `cmd:"" help:"Write jobs in another scheduler's form."`
	Doctor    doctorCmd    `cmd:"" help:"Check this machine and the addresses for what Tidemill needs."`
	Config    configCmd    `cmd:"" help:"Show the scheduler's effective configuration."`
	Stack     stackCmd     `cmd:"" help:"Start real ZooKeeper, Kafka, Cassandra and S3 servers on this machine."`
	Schema    schemaCmd    `cmd:"" help:"Make the keyspace, tables, topics and bucket that the data kinds need."`
	Events    eventsCmd    `cmd:"" help:"Make and send events whose truth is known."`
	Report    reportCmd    `cmd:"" help:"Show the views and clicks of campaigns, by month and day."`
	Data      dataCmd      `cmd:"" help:"Remove a keyspace's rows."`
	Mesos     mesosCmd     `cmd:"" help:"Run the local Mesos: a master and agents, each a process of its own."`
	Demo      demoCmd      `cmd:"" help:"Run the whole way of the data on real servers, and check every total."`
	startedByMesos
	Completion completionCmd `cmd:"" help:"Print what makes a shell complete command lines."`
	Complete   completeCmd   `cmd:"" help:"Say what may stand at the end of a command line." hidden:""`
	Version    versionCmd    `cmd:"" help:"Print the version."`
}

// startedByMesos is what agents start, at times for each task.
type startedByMesos struct {
	Executor executorCmd `cmd:"" help:"Run tasks; Mesos agents start this." hidden:""`
}

// grammarOf gives the tree of commands, and its flags of every command. What agents start
// is parsed by itself: to build the whole tree takes as long as all else before it begins.
func grammarOf(args []string) (tree any, global *globals) {
	if len(args) > 0 && args[0] == "executor" {
		alone := struct {
			globals
			startedByMesos
		}{}
		return &alone, &alone.globals
	}
	var all commandLine
	return &all, &all.globals
}

// globals are the flags of every command.
type globals struct {
	API       string        `help:"Address of the scheduler's API, or of several with commas between them (default: ${default})." default:"http://127.0.0.1:8470" env:"TIDEMILL_API" placeholder:"URL"`
	Patience  time.Duration `help:"For how long to ask again while no scheduler leads (default: ${default})." default:"10s" env:"TIDEMILL_PATIENCE" placeholder:"DURATION"`
	Output    string        `short:"o" help:"How to print results: table, json or yaml." enum:"table,json,yaml" default:"table"`
	TokenFile string        `help:"File that holds the API's bearer token." env:"TIDEMILL_TOKEN_FILE" placeholder:"FILE"`
	LogLevel  string        `help:"Least level to log: debug, info, warn or error (default: info, or warn for local on a terminal)." enum:",debug,info,warn,error" default:"" env:"TIDEMILL_LOG_LEVEL"`
	LogFormat string        `help:"How to log: console or json." enum:"console,json" default:"console" env:"TIDEMILL_LOG_FORMAT"`
}

// console is where a command reads and writes.
type console struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// The exit codes. "job run --wait" exits with the code of the task instead.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2 // wrong flags, or a document that cannot be applied
	exitUnreachable = 3 // no server, or none that leads
	exitRemoved     = 4 // Mesos has removed the framework for good
)

// exitError ends the program with a code of its own; a nil Err prints nothing.
type exitError struct {
	Code int
	Err  error
}

func (e *exitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

func (e *exitError) Unwrap() error { return e.Err }

// run parses the arguments, runs the command and gives the exit code. The
// first interrupt ends ctx; the second ends the process.
func run(ctx context.Context, args []string, c console) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, stop)()

	tree, global := grammarOf(args)
	exited := -1
	parser, err := kong.New(tree,
		kong.Name("tidemill"),
		kong.Description("An Apache Mesos framework for ingest, rollup and restore jobs beside Cassandra."),
		kong.Writers(c.Out, c.Err),
		kong.Exit(func(code int) { exited = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil {
		return conclude(c, err)
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 { // --help
		return exited
	}
	if err != nil {
		return conclude(c, &exitError{Code: exitUsage, Err: usageError(err)})
	}
	return conclude(c, parsed.Run(global, c, global.logger(c.Err)))
}

// usageError says what to do about arguments that cannot be parsed.
func usageError(err error) error {
	help := "tidemill"
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil && parse.Context.Selected() != nil {
		help += " " + strings.TrimSpace(parse.Context.Selected().Path())
	}
	var moment *time.ParseError
	if errors.As(err, &moment) && moment.Layout == time.RFC3339 {
		return fmt.Errorf("%w (write a time like 2026-01-31T12:00:00Z); see %q", err, help+" --help")
	}
	return fmt.Errorf("%w; see %q", err, help+" --help")
}

// logger logs to w at the level that was asked for.
func (g *globals) logger(w io.Writer) zerolog.Logger {
	level, err := zerolog.ParseLevel(g.LogLevel)
	if err != nil || g.LogLevel == "" { // kong checked it
		level = zerolog.InfoLevel
	}
	return newLogger(w, g.LogFormat, level)
}

// conclude prints what went wrong and gives its exit code.
func conclude(c console, err error) int {
	if err == nil {
		return exitOK
	}
	var exit *exitError
	if !errors.As(err, &exit) {
		exit = &exitError{Code: exitCode(err), Err: err}
	}
	if exit.Err != nil {
		fmt.Fprintf(c.Err, "tidemill: %s\n", explain(exit.Err))
	}
	return exit.Code
}
