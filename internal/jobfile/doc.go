// Package jobfile reads and writes jobs as documents: YAML or JSON, from
// files, folders, standard input or a request's body, with every error at
// once, each with its file, line and field.
//
// It works on the nodes of gopkg.in/yaml.v3, which carry the lines; JSON is
// read into the same nodes, so that there is one decoder for both.
package jobfile
