// Package api serves a scheduler over HTTP: REST v1 with its OpenAPI, the
// event stream, metrics, the executor's binary and the web page.
package api
