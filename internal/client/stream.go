package client

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tidemill/internal/rest"
	"tidemill/jobs"
)

// Log reads part of what a task wrote.
func (c *Client) Log(ctx context.Context, task jobs.TaskID, stream string, offset int64, limit int) (jobs.LogChunk, error) {
	values := logQuery(stream, offset)
	if limit > 0 {
		values.Set("limit", strconv.Itoa(limit))
	}
	res, err := c.get(ctx, withQuery(c.at("v1", "tasks", string(task), "logs"), values))
	if err != nil {
		return jobs.LogChunk{}, err
	}
	defer res.Body.Close()
	chunk := jobs.LogChunk{End: res.Header.Get(rest.LogEnd) == "true"}
	if chunk.Data, err = io.ReadAll(io.LimitReader(res.Body, rest.MaxLogChunk)); err != nil {
		return jobs.LogChunk{}, fmt.Errorf("read %s of task %s: %w", stream, task, err)
	}
	for header, into := range map[string]*int64{rest.LogOffset: &chunk.Offset, rest.LogSize: &chunk.Size} {
		if *into, err = strconv.ParseInt(res.Header.Get(header), 10, 64); err != nil {
			return jobs.LogChunk{}, fmt.Errorf("read %s of task %s: header %s: %w", stream, task, header, err)
		}
	}
	return chunk, nil
}

// ListFiles lists a directory of a task's sandbox.
func (c *Client) ListFiles(ctx context.Context, task jobs.TaskID, path string) ([]jobs.File, error) {
	values := url.Values{}
	set(values, "path", path)
	var out rest.FileList
	err := c.call(ctx, http.MethodGet, withQuery(c.at("v1", "tasks", string(task), "files"), values), nil, &out)
	return out.Files, err
}

// ReadFile reads part of a file of a task's sandbox.
func (c *Client) ReadFile(ctx context.Context, task jobs.TaskID, path string, offset int64, limit int) (jobs.FileChunk, error) {
	values := url.Values{"path": {path}, "offset": {strconv.FormatInt(offset, 10)}, "limit": {strconv.Itoa(limit)}}
	res, err := c.get(ctx, withQuery(c.at("v1", "tasks", string(task), "file"), values))
	if err != nil {
		return jobs.FileChunk{}, err
	}
	defer res.Body.Close()
	chunk := jobs.FileChunk{Offset: offset}
	if chunk.Data, err = io.ReadAll(io.LimitReader(res.Body, rest.MaxLogChunk)); err == nil {
		chunk.Size, err = strconv.ParseInt(res.Header.Get(rest.FileSize), 10, 64)
	}
	if err != nil {
		return jobs.FileChunk{}, fmt.Errorf("read %s of task %s: %w", path, task, err)
	}
	return chunk, nil
}

func logQuery(stream string, offset int64) url.Values {
	values := url.Values{"stream": {stream}}
	if offset > 0 {
		values.Set("offset", strconv.FormatInt(offset, 10))
	}
	return values
}

// Tail reads the last limit bytes of what a task wrote.
func (c *Client) Tail(ctx context.Context, task jobs.TaskID, stream string, limit int) ([]byte, error) {
	first, err := c.Log(ctx, task, stream, 0, limit)
	if err != nil || first.Size <= int64(limit) {
		return first.Data, err
	}
	last, err := c.Log(ctx, task, stream, first.Size-int64(limit), limit)
	return last.Data, err
}

const (
	// followRetry is the wait before a broken stream is taken up again.
	followRetry = time.Second
	// followPatience is how long a log may be unavailable: nobody leads, or
	// its agent does not answer, or the task has not opened it yet.
	followPatience = time.Minute
)

// Follow copies what a task writes, from offset until the attempt has ended.
// A stream that breaks off, as when leadership moves, is taken up where it was.
func (c *Client) Follow(ctx context.Context, task jobs.TaskID, stream string, offset int64, to io.Writer) error {
	limit := time.Now().Add(followPatience)
	for {
		n, err := c.followOnce(ctx, task, stream, offset, to)
		offset += n
		var rest jobs.LogChunk
		if err == nil {
			rest, err = c.Log(ctx, task, stream, offset, 1)
		}
		code, _ := jobs.CodeOf(err)
		switch {
		case err == nil && rest.End && len(rest.Data) == 0:
			return nil
		case err == nil:
			limit = time.Now().Add(followPatience)
		case code != jobs.Unavailable || time.Now().After(limit):
			return err
		}
		select {
		case <-time.After(followRetry):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// followOnce reads one stream to its end; a broken one is no error.
func (c *Client) followOnce(ctx context.Context, task jobs.TaskID, stream string, offset int64, to io.Writer) (int64, error) {
	values := logQuery(stream, offset)
	values.Set("follow", "true")
	res, err := c.get(ctx, withQuery(c.at("v1", "tasks", string(task), "logs"), values))
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	kept := &failing{Writer: to}
	n, _ := io.Copy(kept, res.Body) // how it ended, the next question tells
	if kept.err != nil {
		return n, fmt.Errorf("write what task %s wrote: %w", task, kept.err)
	}
	return n, ctx.Err()
}

// failing remembers a writer's error, to tell it from a reader's.
type failing struct {
	io.Writer
	err error
}

func (f *failing) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	f.err = err
	return n, err
}

// Watch delivers what changes. The channel is closed when ctx or the stream ends.
func (c *Client) Watch(ctx context.Context) (<-chan jobs.Notice, error) {
	res, err := c.get(ctx, c.at("v1", "events")) //nolint:bodyclose // the goroutine closes it
	if err != nil {
		return nil, err
	}
	notices := make(chan jobs.Notice)
	go func() { // ends with ctx, which ends the body too
		defer close(notices)
		defer res.Body.Close()
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			data, ok := strings.CutPrefix(lines.Text(), "data: ")
			var n jobs.Notice
			if !ok || json.Unmarshal([]byte(data), &n) != nil {
				continue
			}
			select {
			case notices <- n:
			case <-ctx.Done():
				return
			}
		}
	}()
	return notices, nil
}
