package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"tidemill/jobs"
)

func resultsPath(sandbox string) string { return filepath.Join(sandbox, "results") }

// readResults reads what a command wrote to the file named by
// $TIDEMILL_RESULTS, if anything.
func readResults(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the results: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(f, jobs.MaxResultBytes+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read the results: %w", err)
	}
	if len(data) > jobs.MaxResultBytes {
		return nil, jobs.Permanent(fmt.Errorf("the file $TIDEMILL_RESULTS has more than %d bytes", jobs.MaxResultBytes))
	}
	return parseResults(data)
}

// parseResults reads lines "key=value"; of one key the last counts.
func parseResults(data []byte) (map[string]string, error) {
	var values map[string]string
	number := 0
	for line := range bytes.Lines(data) {
		number++
		text := strings.TrimRight(string(line), "\r\n")
		if strings.TrimSpace(text) == "" {
			continue
		}
		key, value, ok := strings.Cut(text, "=")
		key = strings.TrimSpace(key)
		if !ok || key == "" {
			return nil, jobs.Permanent(fmt.Errorf("line %d of $TIDEMILL_RESULTS is not key=value: %.80q", number, text))
		}
		if values == nil {
			values = map[string]string{}
		}
		values[strings.ToValidUTF8(key, "?")] = strings.ToValidUTF8(value, "?")
	}
	return values, nil
}
