package main

import (
	"tidemill/jobs"
	"tidemill/jobs/noop"
)

// kinds lists every kind of job that this program knows.
func kinds() (*jobs.Registry, error) {
	return jobs.NewRegistry(
		noop.Kind{},
	)
}
