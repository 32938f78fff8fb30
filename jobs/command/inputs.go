package command

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tidemill/jobs"
)

func inputsPath(sandbox string) string { return filepath.Join(sandbox, "inputs") }

// writeInputs lays the results of the parents' runs into the folder that
// $TIDEMILL_INPUTS names: a file for each parent, in the form of results.
func writeInputs(dir string, inputs map[jobs.Name]map[string]string) error {
	if len(inputs) == 0 {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write the inputs: %w", err)
	}
	oneLine := strings.NewReplacer("\r\n", " ", "\n", " ", "\r", " ")
	for parent, values := range inputs {
		var b strings.Builder
		for _, key := range slices.Sorted(maps.Keys(values)) {
			fmt.Fprintf(&b, "%s=%s\n", oneLine.Replace(key), oneLine.Replace(values[key]))
		}
		if err := os.WriteFile(filepath.Join(dir, string(parent)), []byte(b.String()), 0o644); err != nil {
			return fmt.Errorf("write the inputs: %w", err)
		}
	}
	return nil
}
