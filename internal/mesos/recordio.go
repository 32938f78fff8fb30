package mesos

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// maxFrame bounds one event. Offers of ten thousand agents fit.
const maxFrame = 64 << 20

// keepFrame is the largest buffer that is kept from one frame to the next.
const keepFrame = 1 << 20

var errFrameSize = errors.New("not a RecordIO stream")

// frames reads RecordIO: each record behind its length in decimal and a newline.
type frames struct {
	in  *bufio.Reader
	buf []byte
}

func newFrames(in io.Reader) *frames {
	return &frames{in: bufio.NewReaderSize(in, 64<<10)}
}

// next gives the next record, valid until the call after. io.EOF is the clean
// end, io.ErrUnexpectedEOF one within a record.
func (f *frames) next() ([]byte, error) {
	size, err := f.size()
	if err != nil {
		return nil, err
	}
	if cap(f.buf) < size || cap(f.buf) > keepFrame {
		f.buf = make([]byte, size, max(size, 4<<10))
	}
	f.buf = f.buf[:size]
	if _, err := io.ReadFull(f.in, f.buf); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return f.buf, nil
}

func (f *frames) size() (int, error) {
	line, err := f.in.ReadSlice('\n')
	switch {
	case errors.Is(err, io.EOF) && len(line) == 0:
		return 0, io.EOF
	case errors.Is(err, io.EOF):
		return 0, io.ErrUnexpectedEOF
	case errors.Is(err, bufio.ErrBufferFull):
		return 0, fmt.Errorf("%w: no length within %d bytes", errFrameSize, len(line))
	case err != nil:
		return 0, err
	}
	digits := line[:len(line)-1]
	size, err := strconv.ParseUint(string(digits), 10, 63)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%w: length %.20q", errFrameSize, digits)
	case size > maxFrame:
		return 0, fmt.Errorf("%w: a record of %d bytes, at most %d are read", errFrameSize, size, maxFrame)
	}
	return int(size), nil
}
