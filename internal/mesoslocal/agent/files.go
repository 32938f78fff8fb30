package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	apiagent "github.com/mesos/mesos-go/api/v1/lib/agent"

	"tidemill/internal/mesoslocal/wire"
)

// maxRead bounds what one read returns: 16 pages, as in Mesos.
const maxRead = 16 * 4096

// resolve maps a path of the files API to one on disk: sandboxes by their own path, or
// as /frameworks/ID/executors/ID/runs/latest. Whatever is not below a sandbox, by
// symbolic links too, is not found.
func (a *Agent) resolve(name string) (string, error) {
	a.mu.Lock()
	id := a.id
	a.mu.Unlock()
	root := filepath.Join(a.opts.WorkDir, "slaves")
	clean := path.Clean("/" + strings.TrimPrefix(name, "/"))
	if strings.HasPrefix(clean, "/frameworks/") {
		clean = filepath.Join(root, id, clean)
	}
	real, err := filepath.EvalSymlinks(clean)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", name, fs.ErrNotExist)
	}
	below, err := filepath.Rel(root, real)
	if err != nil || strings.HasPrefix(below, "..") || len(strings.Split(below, "/")) < 7 {
		return "", fmt.Errorf("find %s: %w", name, fs.ErrNotExist) // slaves/ID/frameworks/ID/executors/ID/runs/ID
	}
	return real, nil
}

// open resolves a request's path, or answers why not.
func (a *Agent) open(w http.ResponseWriter, r *http.Request) (string, bool) {
	name := r.URL.Query().Get("path")
	if name == "" {
		wire.Text(w, http.StatusBadRequest, "Expecting 'path=value' in query.\n")
		return "", false
	}
	real, err := a.resolve(name)
	if err != nil {
		wire.Text(w, http.StatusNotFound, "")
		return "", false
	}
	return real, true
}

// chunk reads a part of a file; an offset of -1 asks for its size only.
func chunk(name string, offset, length int64) (data []byte, size int64, err error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", name, err)
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", name, err)
	}
	size = stat.Size()
	if stat.IsDir() {
		return nil, 0, fmt.Errorf("read %s: %w", name, errDirectory)
	}
	if offset < 0 || offset >= size {
		return nil, size, nil
	}
	if length < 0 || length > maxRead {
		length = maxRead
	}
	data = make([]byte, min(length, size-offset))
	n, err := file.ReadAt(data, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, size, fmt.Errorf("read %s: %w", name, err)
	}
	return data[:n], size, nil
}

var errDirectory = errors.New("it is a directory")

func (a *Agent) serveRead(w http.ResponseWriter, r *http.Request) {
	offset, err1 := number(r, "offset")
	length, err2 := number(r, "length")
	if err := errors.Join(err1, err2); err != nil {
		wire.Text(w, http.StatusBadRequest, err.Error())
		return
	}
	name, ok := a.open(w, r)
	if !ok {
		return
	}
	data, size, err := chunk(name, offset, length)
	switch {
	case errors.Is(err, errDirectory):
		wire.Text(w, http.StatusBadRequest, "Cannot read a directory.\n")
	case err != nil:
		wire.Text(w, http.StatusInternalServerError, err.Error())
	case offset < 0 || data == nil:
		wire.WriteJSON(w, r, wire.Object{"data": "", "offset": size})
	default:
		wire.WriteJSON(w, r, wire.Object{"data": string(data), "offset": offset})
	}
}

// number reads a query parameter; absent, it is -1.
func number(r *http.Request, name string) (int64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return -1, nil
	}
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil || value < -1 {
		return 0, fmt.Errorf("Failed to parse %s: '%s' is no number", name, text)
	}
	return value, nil
}

func (a *Agent) serveDownload(w http.ResponseWriter, r *http.Request) {
	name, ok := a.open(w, r)
	if !ok {
		return
	}
	file, err := os.Open(name)
	if err != nil {
		wire.Text(w, http.StatusNotFound, "")
		return
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil || stat.IsDir() {
		wire.Text(w, http.StatusBadRequest, "Cannot download a directory.\n")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", "attachment; filename="+filepath.Base(name))
	w.Header().Set("Content-Length", strconv.FormatInt(stat.Size(), 10))
	_, _ = io.CopyN(w, file, stat.Size()) // a client that went away needs no answer
}

// list describes the entries of a directory under the name it was asked for.
func list(name, real string) ([]mesos.FileInfo, error) {
	entries, err := os.ReadDir(real)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", name, err)
	}
	var infos []mesos.FileInfo
	for _, entry := range entries {
		stat, err := entry.Info()
		if err != nil {
			continue // it went in between
		}
		infos = append(infos, describe(path.Join(name, entry.Name()), stat))
	}
	return infos, nil
}

func describe(name string, stat fs.FileInfo) mesos.FileInfo {
	info := mesos.FileInfo{Path: name, Size_: new(uint64(stat.Size())),
		Mtime: &mesos.TimeInfo{Nanoseconds: stat.ModTime().UnixNano()}, Nlink: new(int32(1))}
	if system, ok := stat.Sys().(*syscall.Stat_t); ok {
		info.Mode, info.Nlink = &system.Mode, new(int32(system.Nlink))
		info.UID, info.GID = new(userName(system.Uid)), new(groupName(system.Gid))
	}
	return info
}

func userName(id uint32) string {
	if found, err := user.LookupId(fmt.Sprint(id)); err == nil {
		return found.Username
	}
	return fmt.Sprint(id)
}

func groupName(id uint32) string {
	if found, err := user.LookupGroupId(fmt.Sprint(id)); err == nil {
		return found.Name
	}
	return fmt.Sprint(id)
}

// modeText writes a mode as ls does.
func modeText(mode uint32) string {
	text := []byte("-rwxrwxrwx")
	switch mode & syscall.S_IFMT {
	case syscall.S_IFDIR:
		text[0] = 'd'
	case syscall.S_IFLNK:
		text[0] = 'l'
	}
	for bit := range 9 {
		if mode&(1<<(8-bit)) == 0 {
			text[1+bit] = '-'
		}
	}
	return string(text)
}

func (a *Agent) serveBrowse(w http.ResponseWriter, r *http.Request) {
	real, ok := a.open(w, r)
	if !ok {
		return
	}
	infos, err := list(r.URL.Query().Get("path"), real)
	if err != nil {
		wire.Text(w, http.StatusNotFound, "")
		return
	}
	entries := []any{}
	for _, info := range infos {
		entries = append(entries, wire.Object{
			"path": info.Path, "size": *info.Size_, "nlink": *info.Nlink, "mode": modeText(info.GetMode()),
			"mtime": float64(info.Mtime.Nanoseconds / 1e9), "uid": info.GetUID(), "gid": info.GetGID(),
		})
	}
	wire.WriteJSON(w, r, entries)
}

// serveFilesDebug lists the virtual paths of the sandboxes.
func (a *Agent) serveFilesDebug(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	paths := wire.Object{}
	add := func(e *executor) {
		paths[e.sandbox] = e.sandbox
		paths[path.Join("/frameworks", e.framework.id(), "executors", e.id(), "runs/latest")] = e.sandbox
	}
	for _, e := range a.completed {
		add(e)
	}
	for _, f := range a.frameworks {
		for _, e := range f.executors {
			add(e)
		}
	}
	a.mu.Unlock()
	wire.WriteJSON(w, r, paths)
}

func notFound(name string) *wire.Fault {
	return wire.Faultf(http.StatusNotFound, "Failed to find '%s': no such file or directory", name)
}

func (a *Agent) listFiles(request *apiagent.Call_ListFiles) (*apiagent.Response, *wire.Fault) {
	if request == nil {
		return nil, wire.Faultf(http.StatusBadRequest, "Failed to validate agent::Call: Expecting 'list_files' to be present")
	}
	real, err := a.resolve(request.Path)
	if err != nil {
		return nil, notFound(request.Path)
	}
	infos, err := list(request.Path, real)
	if err != nil {
		return nil, notFound(request.Path)
	}
	return &apiagent.Response{Type: apiagent.Response_LIST_FILES, ListFiles: &apiagent.Response_ListFiles{FileInfos: infos}}, nil
}

func (a *Agent) readFile(request *apiagent.Call_ReadFile) (*apiagent.Response, *wire.Fault) {
	if request == nil {
		return nil, wire.Faultf(http.StatusBadRequest, "Failed to validate agent::Call: Expecting 'read_file' to be present")
	}
	real, err := a.resolve(request.Path)
	if err != nil {
		return nil, notFound(request.Path)
	}
	length := int64(-1)
	if request.Length != nil {
		length = int64(min(*request.Length, maxRead))
	}
	data, size, err := chunk(real, int64(request.Offset), length)
	if err != nil {
		return nil, wire.Faultf(http.StatusInternalServerError, "%s", err)
	}
	return &apiagent.Response{Type: apiagent.Response_READ_FILE,
		ReadFile: &apiagent.Response_ReadFile{Size_: uint64(size), Data: data}}, nil
}
