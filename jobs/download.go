package jobs

import (
	"path"
	"regexp"
	"strings"
)

// MaxDownloads bounds the files that one task is given.
const MaxDownloads = 32

// Download is a file that the agent brings into a task's sandbox before the
// task begins: an URI that Mesos's fetcher knows, as http, https, ftp or file
// (others where the agents are set up for them).
type Download struct {
	URI        string `json:"uri"`
	File       string `json:"file,omitempty"`       // its name there; default: the last part of the URI's path
	Executable bool   `json:"executable,omitempty"` // made so, and not unpacked
	Extract    *bool  `json:"extract,omitempty"`    // unpack archives; default true
	Cache      bool   `json:"cache,omitempty"`      // keep it on the agent for the next task
}

// Unpacked says whether an archive is to be unpacked.
func (d Download) Unpacked() bool { return d.Extract == nil || *d.Extract }

var scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)

// Validate finds everything that is wrong with the download.
func (d Download) Validate() error {
	var e FieldErrors
	switch {
	case d.URI == "":
		e.Addf("uri", "is missing")
		return e.Err()
	case len(d.URI) > 4096, strings.ContainsAny(d.URI, " \t\r\n\x00\\'"):
		e.Addf("uri", "%q is no URI that Mesos fetches: at most 4,096 bytes, without blanks, quotes and backslashes", d.URI)
		return e.Err()
	case !scheme.MatchString(d.URI) && !path.IsAbs(d.URI):
		e.Addf("uri", "%q has no scheme; write http://, https://, ftp:// or, for a file on every agent, file:///", d.URI)
		return e.Err()
	}
	name, field := d.File, "file"
	if name == "" { // as Mesos calls it
		field = "uri"
		if strings.Contains(scheme.ReplaceAllString(d.URI, ""), "/") && !strings.HasSuffix(d.URI, "/") && !strings.ContainsAny(d.URI, "?#") {
			name = path.Base(d.URI)
		}
	}
	switch clean := path.Clean(name); {
	case clean == "." || clean == "/":
		e.Addf(field, "names no file; say with file what it is to be called")
	case path.IsAbs(clean), !localPath(clean), strings.ContainsAny(clean, "\x00\\'"):
		e.Addf(field, "%q does not lie below the sandbox", name)
	case ExecutorFile(clean):
		e.Addf(field, "%q is what the executor calls a file of its own; say with file what it is to be called", name)
	}
	return e.Err()
}

// ExecutorFile says whether a path of an executor's sandbox is the executor's own.
func ExecutorFile(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	switch first {
	case "tidemill", "stdout", "stderr", path.Dir(TaskDir("any")):
		return true
	}
	return strings.HasPrefix(first, "stdout.") || strings.HasPrefix(first, "stderr.") // rotated
}
