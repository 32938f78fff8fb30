// Package demo holds the jobs that `tidemill demo` applies.
package demo

import "embed"

// Files are the jobs' documents, which stand as they are. A run on servers
// that others use too gives its own names to what they name.
//
//go:embed *.yaml
var Files embed.FS
