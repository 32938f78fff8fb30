package stack

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
)

//go:embed config/*.tmpl
var configFiles embed.FS

// writeConfig writes a server's configuration files, filled in with values, into its directory.
func writeConfig(dir string, values any, names ...string) error {
	for _, name := range names {
		parsed, err := template.New(name+".tmpl").
			Funcs(template.FuncMap{"inc": func(i int) int { return i + 1 }}).
			Option("missingkey=error").
			ParseFS(configFiles, "config/"+name+".tmpl")
		if err != nil {
			return fmt.Errorf("read the template of %s: %w", name, err)
		}
		var content bytes.Buffer
		if err := parsed.Execute(&content, values); err != nil {
			return fmt.Errorf("fill in %s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content.Bytes(), 0o644); err != nil {
			return fmt.Errorf("write the configuration: %w", err)
		}
	}
	return nil
}
