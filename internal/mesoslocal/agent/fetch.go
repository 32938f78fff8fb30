package agent

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// fetchTimeout bounds one download.
const fetchTimeout = 5 * time.Minute

// fetchCache keeps downloads that are to be cached, by the hash of their URL.
type fetchCache struct {
	dir string
	mu  sync.Mutex // one download at a time: two executors often want the same file
}

// fetch brings an executor's files into its sandbox.
func (a *Agent) fetch(uris []mesos.CommandInfo_URI, sandbox string) error {
	for _, uri := range uris {
		if err := a.fetchOne(uri, sandbox); err != nil {
			return fmt.Errorf("fetch %s: %w", uri.Value, err)
		}
	}
	return nil
}

func (a *Agent) fetchOne(uri mesos.CommandInfo_URI, sandbox string) error {
	name := path.Base(uri.Value)
	if parsed, err := url.Parse(uri.Value); err == nil {
		name = path.Base(parsed.Path)
	}
	if uri.OutputFile != nil {
		name = *uri.OutputFile
	}
	if !filepath.IsLocal(name) {
		return fmt.Errorf("the file name %q leaves the sandbox", name)
	}
	target := filepath.Join(sandbox, name)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	var err error
	if uri.Cache != nil && *uri.Cache && isHTTP(uri.Value) {
		err = a.cache.copyTo(a.ctx, uri.Value, target)
	} else {
		err = retrieve(a.ctx, uri.Value, target)
	}
	switch {
	case err != nil:
		return err
	case uri.Executable != nil && *uri.Executable:
		return os.Chmod(target, 0o755)
	case uri.Extract == nil || *uri.Extract:
		return extract(target, sandbox)
	}
	return nil
}

func isHTTP(address string) bool {
	return strings.HasPrefix(address, "http://") || strings.HasPrefix(address, "https://")
}

func (c *fetchCache) copyTo(ctx context.Context, address, target string) error {
	sum := sha256.Sum256([]byte(address))
	cached := filepath.Join(c.dir, hex.EncodeToString(sum[:]))
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := os.Stat(cached); err != nil {
		if err := os.MkdirAll(c.dir, 0o755); err != nil {
			return err
		}
		if err := retrieve(ctx, address, cached+".next"); err != nil {
			return err
		}
		if err := os.Rename(cached+".next", cached); err != nil {
			return err
		}
	}
	return retrieve(ctx, cached, target)
}

// retrieve copies a file, or downloads it.
func retrieve(ctx context.Context, address, target string) error {
	source, err := openSource(ctx, address)
	if err != nil {
		return err
	}
	defer source.Close()
	return writeFile(target, source, 0o644)
}

func openSource(ctx context.Context, address string) (io.ReadCloser, error) {
	if !isHTTP(address) {
		return os.Open(strings.TrimPrefix(address, "file://"))
	}
	client := &http.Client{Timeout: fetchTimeout}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("the server answers %s", response.Status)
	}
	return response.Body, nil
}

func writeFile(target string, source io.Reader, mode os.FileMode) error {
	file, err := os.OpenFile(target, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, source)
	return errors.Join(err, file.Close())
}

// extract unpacks an archive; what is not one stays as it is.
func extract(archive, dir string) error {
	switch {
	case strings.HasSuffix(archive, ".tar.gz"), strings.HasSuffix(archive, ".tgz"):
		return untar(archive, dir)
	case strings.HasSuffix(archive, ".zip"):
		return unzip(archive, dir)
	}
	return nil
}

func untar(archive, dir string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		return err
	}
	for reader := tar.NewReader(unzipped); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := unpack(dir, header.Name, header.FileInfo(), reader); err != nil {
			return err
		}
	}
}

func unzip(archive, dir string) error {
	reader, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer reader.Close()
	for _, entry := range reader.File {
		content, err := entry.Open()
		if err != nil {
			return err
		}
		err = unpack(dir, entry.Name, entry.FileInfo(), content)
		content.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// unpack writes one entry of an archive: directories and plain files, below dir only.
func unpack(dir, name string, info os.FileInfo, content io.Reader) error {
	if !filepath.IsLocal(name) {
		return fmt.Errorf("the archive's entry %q leaves the sandbox", name)
	}
	target := filepath.Join(dir, name)
	switch {
	case info.IsDir():
		return os.MkdirAll(target, 0o755)
	case !info.Mode().IsRegular():
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	return writeFile(target, content, info.Mode().Perm())
}
