// Package examples holds the jobs that the README and "tidemill local" start with.
package examples

import _ "embed"

// Graph is the graph of two jobs that an empty local state is given.
//
//go:embed graph/graph.yaml
var Graph []byte
