package main

import (
	"tidemill/jobs"
	"tidemill/jobs/archive"
	"tidemill/jobs/command"
	"tidemill/jobs/ingest"
	"tidemill/jobs/noop"
	"tidemill/jobs/report"
	"tidemill/jobs/restore"
	"tidemill/jobs/rollup"
)

// kinds lists every kind of job that this program knows.
func kinds() (*jobs.Registry, error) {
	commands := command.New()
	return jobs.NewRegistry(
		archive.Kind{},
		commands,
		commands.Service(),
		ingest.Kind{},
		noop.Kind{},
		report.Kind{},
		restore.Kind{},
		rollup.Kind{},
	)
}
