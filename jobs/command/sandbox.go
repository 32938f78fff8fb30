package command

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"

	"tidemill/jobs"
)

// identity says who the command runs as; the agent's variables, which it
// inherits, tell of the agent's user. Whom this machine does not list has no home.
func identity(name string) []string {
	if name == "" {
		return nil
	}
	home := "/"
	if u, err := user.Lookup(name); err == nil && u.HomeDir != "" {
		home = u.HomeDir
	}
	return []string{"USER=" + name, "LOGNAME=" + name, "HOME=" + home}
}

// linkDownloads shows in the attempt's directory what the agent has brought into
// the executor's sandbox: the files, and what was unpacked of them.
func linkDownloads(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return fmt.Errorf("find the downloads: %w", err)
	}
	for _, entry := range entries {
		if jobs.ExecutorFile(entry.Name()) {
			continue
		}
		target, err := filepath.Rel(to, filepath.Join(from, entry.Name()))
		if err != nil {
			return fmt.Errorf("find the downloads: %w", err)
		}
		if err := os.Symlink(target, filepath.Join(to, entry.Name())); err != nil && !os.IsExist(err) {
			return fmt.Errorf("show a download: %w", err)
		}
	}
	return nil
}
