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
	return jobs.NewRegistry(
		archive.Kind{},
		command.New(),
		ingest.Kind{},
		noop.Kind{},
		report.Kind{},
		restore.Kind{},
		rollup.Kind{},
	)
}
