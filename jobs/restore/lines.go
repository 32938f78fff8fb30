package restore

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/gzip"

	"tidemill/internal/s3"
)

// Bounds of a source's patience.
const (
	reopens    = 5
	reopenWait = 200 * time.Millisecond // before the first, doubled each time
)

// source is an object's bytes. A connection that breaks is opened again where
// it broke, so that only what the object holds can make its reader fail; what
// the store did wrong is in err.
type source struct {
	ctx    context.Context // of the one read that the source is made for
	store  s3.Store
	object s3.Object
	body   io.ReadCloser
	at     int64
	failed int
	err    error
}

func (s *source) Read(p []byte) (int, error) {
	for s.err == nil && s.at < s.object.Size {
		n, err := s.read(p)
		s.at += int64(n)
		if n > 0 {
			s.failed = 0
			return n, nil
		}
		if err != nil {
			s.err = s.again(err)
		}
	}
	if s.err != nil {
		return 0, s.err
	}
	return 0, io.EOF
}

func (s *source) read(p []byte) (n int, err error) {
	if s.body == nil {
		if s.body, err = s.store.Open(s.ctx, s.object.Key, s.object.ETag, s.at); err != nil {
			return 0, err
		}
	}
	return s.body.Read(p)
}

// again waits before the object is opened once more; it gives the error where
// that is of no use.
func (s *source) again(err error) error {
	s.failed++
	if closing := s.close(); s.failed > reopens || errors.Is(err, s3.ErrChanged) || errors.Is(err, s3.ErrNotFound) {
		return fmt.Errorf("read %s at byte %d: %w", s.object.Key, s.at, errors.Join(err, closing))
	}
	timer := time.NewTimer(reopenWait << (s.failed - 1))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

func (s *source) close() error {
	if s.body == nil {
		return nil
	}
	err := s.body.Close()
	s.body = nil
	return err
}

// errTooMuch ends an object that decompresses to more than is allowed.
var errTooMuch = errors.New("it decompresses to more than max_plain allows")

// capped fails where more than left bytes are read.
type capped struct {
	io.Reader
	left int64
}

func (c *capped) Read(p []byte) (int, error) {
	if c.left <= 0 {
		// The end may be just here.
		if n, err := c.Reader.Read(p[:min(1, len(p))]); n == 0 {
			return 0, err
		}
		return 0, errTooMuch
	}
	n, err := c.Reader.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

var gzipMagic = []byte{0x1f, 0x8b}

// plain decompresses what is compressed, whatever its name.
func plain(r io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 128<<10)
	head, err := b.Peek(len(gzipMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if !bytes.Equal(head, gzipMagic) {
		return b, nil
	}
	return gzip.NewReader(b)
}

// lineReader takes text apart into lines, of which it never holds more than
// max bytes.
type lineReader struct {
	r    *bufio.Reader
	max  int
	text []byte
}

// next gives a line without its newline, or of one that is too long its
// beginning. The last line need not end; with any other error than io.EOF, what
// came before the error is given as well.
func (l *lineReader) next() (text []byte, long bool, err error) {
	l.text = l.text[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		ended := err == nil
		if ended {
			part = part[:len(part)-1]
		}
		room := l.max - len(l.text)
		if len(part) > room {
			long, part = true, part[:room]
		}
		l.text = append(l.text, part...)
		switch {
		case ended:
			return l.text, long, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(l.text) > 0:
			return l.text, long, nil
		default:
			return l.text, long, err
		}
	}
}
