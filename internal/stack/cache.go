package stack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// CacheVariable names the environment variable that moves the cache of server programs.
const CacheVariable = "TIDEMILL_CACHE"

// lockPoll is how often a lock held by another process is tried again.
const lockPoll = 100 * time.Millisecond

// cache is a directory of server programs shared by all processes of a user. Everything in it
// appears whole or not at all, and is never changed: a new version has a new name.
type cache struct {
	dir string
	say func(format string, args ...any)
}

func openCache(dir string, say func(string, ...any)) (cache, error) {
	if dir == "" {
		dir = os.Getenv(CacheVariable)
	}
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return cache{}, fmt.Errorf("find a cache directory for the servers: %w (set %s)", err, CacheVariable)
		}
		dir = filepath.Join(user, "tidemill")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return cache{}, fmt.Errorf("find the cache directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return cache{}, fmt.Errorf("make the cache directory: %w (set %s to another)", err, CacheVariable)
	}
	return cache{dir: dir, say: say}, nil
}

// entry returns the path of the named directory in the cache, made by build where it is missing.
// Of several processes that miss it, one builds and the others wait.
func (c cache) entry(ctx context.Context, name string, build func(ctx context.Context, dir string) error) (string, error) {
	final := filepath.Join(c.dir, name)
	if exists(final) {
		return final, nil
	}
	unlock, err := c.lock(ctx, name)
	if err != nil {
		return "", err
	}
	defer unlock()
	if exists(final) {
		return final, nil
	}
	tmp, err := os.MkdirTemp(c.dir, "."+name+"-")
	if err != nil {
		return "", fmt.Errorf("make %s: %w", name, err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if err := build(ctx, tmp); err != nil {
		return "", err
	}
	if err := errors.Join(os.Chmod(tmp, 0o755), os.Rename(tmp, final)); err != nil {
		return "", fmt.Errorf("keep %s in the cache: %w", name, err)
	}
	return final, nil
}

// lock takes the named lock, waiting for it as long as ctx lasts. A process that dies lets go.
func (c cache) lock(ctx context.Context, name string) (unlock func(), err error) {
	path := filepath.Join(c.dir, "."+name+".lock")
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	ticker := time.NewTicker(lockPoll)
	defer ticker.Stop()
	for waited := false; ; waited = true {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
		}
		if !waited {
			c.say("waiting for another process that prepares %s", name)
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for %s: %w", path, context.Cause(ctx)), file.Close())
		case <-ticker.C:
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// fingerprint is short enough for a file name and long enough to tell versions apart.
func fingerprint(parts ...[]byte) string {
	hash := sha256.New()
	for _, part := range parts {
		_, _ = hash.Write(part)
		_, _ = hash.Write([]byte{0})
	}
	return hex.EncodeToString(hash.Sum(nil))[:12]
}
