// Package event is the advertising event that goes through Tidemill: its
// fields, its JSON form and what makes one valid; it is pure.
package event

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"time"
)

// The types of events that rollups count.
const (
	View  = "view"
	Click = "click"
)

// UUID is a UUID's 16 bytes.
type UUID [16]byte

func (u UUID) String() string { return string(u.append(make([]byte, 0, 36))) }

// MarshalText writes the usual form with hyphens.
func (u UUID) MarshalText() ([]byte, error) { return u.append(nil), nil }

// UnmarshalText reads the usual form with hyphens, in either case.
func (u *UUID) UnmarshalText(b []byte) error {
	v, ok := parseUUID(b)
	if !ok {
		return fmt.Errorf("%q is no UUID", b)
	}
	*u = v
	return nil
}

func (u UUID) append(dst []byte) []byte {
	dst = hex.AppendEncode(dst, u[:4])
	for _, part := range [][]byte{u[4:6], u[6:8], u[8:10], u[10:]} {
		dst = append(dst, '-')
		dst = hex.AppendEncode(dst, part)
	}
	return dst
}

// ParseUUID reads the form with hyphens.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	err := u.UnmarshalText([]byte(s))
	return u, err
}

func parseUUID(b []byte) (UUID, bool) {
	var u UUID
	if len(b) != 36 || b[8] != '-' || b[13] != '-' || b[18] != '-' || b[23] != '-' {
		return u, false
	}
	at := 0
	for i := 0; i < 36; i += 2 {
		if b[i] == '-' {
			i++
		}
		hi, lo := nibble(b[i]), nibble(b[i+1])
		if hi > 15 || lo > 15 {
			return u, false
		}
		u[at] = hi<<4 | lo
		at++
	}
	return u, true
}

func nibble(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

// Event is one view or click of an ad of a campaign.
type Event struct {
	ID       UUID   `json:"id"` // made by the client: posting again is the same event
	AdID     UUID   `json:"ad_id"`
	Campaign UUID   `json:"campaign"`
	TS       int64  `json:"ts"` // ms since 1970, UTC
	Type     string `json:"type"`
}

// Stamp is the write timestamp of the event's rows, in µs. It depends on the
// event alone, so that whoever writes it again changes nothing.
func (e Event) Stamp() int64 { return e.TS * 1000 }

// Day is the UTC day on which the event counts.
func (e Event) Day() Day { return DayOf(e.TS) }

// AppendJSON appends the event as one line without its newline.
func (e Event) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"id":"`...)
	dst = e.ID.append(dst)
	dst = append(dst, `","ad_id":"`...)
	dst = e.AdID.append(dst)
	dst = append(dst, `","campaign":"`...)
	dst = e.Campaign.append(dst)
	dst = append(dst, `","ts":`...)
	dst = strconv.AppendInt(dst, e.TS, 10)
	dst = append(dst, `,"type":`...)
	dst = appendString(dst, e.Type)
	return append(dst, '}')
}

// Bucket spreads a day's events over n partitions. Rows lie where it says:
// it may never change.
func Bucket(id UUID, n int) int { return int(hash(id) % uint64(n)) }

// Shard spreads campaigns over n partitions, of dirty marks for one.
func Shard(campaign UUID, n int) int { return int(hash(campaign) % uint64(n)) }

// hash is FNV-1a of 64 bits with its high bits folded in.
func hash(u UUID) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range u {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h ^ h>>32
}

// Day is a UTC day, counted from 1 January 1970.
type Day int32

const dayMillis = 24 * 60 * 60 * 1000

// DayOf is the day of an instant in ms; instants before 1970 have negative days.
func DayOf(ms int64) Day {
	d := ms / dayMillis
	if ms%dayMillis < 0 {
		d--
	}
	return Day(d)
}

// DayOfTime is the UTC day of t.
func DayOfTime(t time.Time) Day { return DayOf(t.UnixMilli()) }

// Time is the day's midnight, UTC.
func (d Day) Time() time.Time { return time.UnixMilli(int64(d) * dayMillis).UTC() }

// Date is the day as the calendar has it.
func (d Day) Date() (year, month, day int) {
	y, m, dd := d.Time().Date()
	return y, int(m), dd
}

func (d Day) String() string { return d.Time().Format(time.DateOnly) }

// MarshalText writes 2015-09-01.
func (d Day) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads 2015-09-01.
func (d *Day) UnmarshalText(b []byte) error {
	t, err := time.Parse(time.DateOnly, string(b))
	if err != nil {
		return fmt.Errorf("%q is no day like 2015-09-01", b)
	}
	*d = DayOfTime(t)
	return nil
}
