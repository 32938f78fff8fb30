package zk

import (
	"bytes"
	"compress/flate"
	"io"
	"strconv"
	"strings"

	gozk "github.com/go-zookeeper/zk"
)

// position is a change of the term's znode: the transaction that made it, and the version it gave.
// ZooKeeper never gives a transaction's number again; that of no transaction is 0.
type position struct {
	zxid    int64
	version int32
}

func positionOf(s *gozk.Stat) position { return position{zxid: s.Mzxid, version: s.Version} }

// entry is what the journal holds of one change of the term's znode, written in the same
// transaction: which records it changed, and which change of the term's znode it followed. So
// entries are a chain: whoever holds one end knows of every entry whether it is the next, and
// misses none, whatever wrote to the term meanwhile.
type entry struct {
	after   int64    // a transaction; 0 breaks the chain
	changed []string // keys
}

// Of an entry with more names than plainNames bytes hold, they are deflated, to a tenth or so.
// maxNames bounds what is inflated: no request held more.
const (
	plainNames = 4 << 10
	maxNames   = 1 << 20
	deflated   = " deflated"
)

// encode gives the lines of an entry, after the first the names of the records' znodes.
func (e entry) encode() []byte {
	list := make([]string, len(e.changed))
	for i, key := range e.changed {
		list[i] = escape(key)
	}
	doc, names := strconv.AppendInt(nil, e.after, 10), strings.Join(list, "\n")
	if names == "" {
		return doc
	}
	if len(names) <= plainNames {
		return append(append(doc, '\n'), names...)
	}
	out := bytes.NewBuffer(append(append(doc, deflated...), '\n'))
	w, _ := flate.NewWriter(out, flate.BestSpeed) // fails for no level that there is
	_, _ = io.WriteString(w, names)               // into memory: never fails
	_ = w.Close()
	return out.Bytes()
}

// parseEntry reads an entry; what is none breaks the chain.
func parseEntry(doc []byte) entry {
	head, names, _ := strings.Cut(string(doc), "\n")
	if plain, packed := strings.CutSuffix(head, deflated); packed {
		inflated, err := io.ReadAll(io.LimitReader(flate.NewReader(strings.NewReader(names)), maxNames+1))
		if err != nil || len(inflated) > maxNames {
			return entry{}
		}
		head, names = plain, string(inflated)
	}
	after, err := strconv.ParseInt(head, 10, 64)
	if err != nil {
		return entry{}
	}
	e := entry{after: after}
	if names == "" {
		return e
	}
	for name := range strings.SplitSeq(names, "\n") {
		key, err := unescape(name)
		if err != nil {
			return entry{}
		}
		e.changed = append(e.changed, key)
	}
	return e
}

// journal is what a leader knows of it: which entries there were when it raised the term, its own
// included, and at which version that was. Since then it alone has written.
type journal struct {
	made   map[string]bool // by name
	raised int32
}

// has says whether the entry of a version is there already, to be overwritten.
func (j journal) has(version int32) bool {
	return version-journalSize > j.raised || j.made[entryName(version)]
}

// found is an entry as it was read, and the transaction that wrote it.
type found struct {
	entry
	zxid int64
}

// between gives the keys of the records that the entries changed, where they lead from one
// position to the other without a gap.
func between(from, to position, entries []found) (changed []string, whole bool) {
	last := from.zxid
	for _, e := range entries {
		if last == 0 || e.after != last {
			return nil, false
		}
		last = e.zxid
		changed = append(changed, e.changed...)
	}
	return changed, last == to.zxid
}
