package zk

import (
	"fmt"
	"hash/fnv"
	"net/url"
	"strings"

	gozk "github.com/go-zookeeper/zk"
)

// layout is where things are under the root:
//
//	/term                    who may write: {term, sequence, owner}
//	/election/n-<id>-<seq>   who stands for election, ephemeral, {url}
//	/records/<2 hex>/<key>   the records, one znode each
//	/journal/<3 hex>         what the last changes of /term changed with it
type layout struct{ root string }

// buckets keep the children of one znode few enough for their names to fit into one answer.
const buckets = 256

func (p layout) term() string     { return p.root + "/term" }
func (p layout) election() string { return p.root + "/election" }
func (p layout) records() string  { return p.root + "/records" }

func (p layout) journal() string { return p.root + "/journal" }

func (p layout) candidate(name string) string { return p.election() + "/" + name }

func (p layout) bucket(n int) string { return fmt.Sprintf("%s/%02x", p.records(), n) }

// entry is where the change that gave the term's znode this version is told of.
func (p layout) entry(version int32) string { return p.journal() + "/" + entryName(version) }

func entryName(version int32) string { return fmt.Sprintf("%03x", version%journalSize) }

func (p layout) record(key string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // a hash takes all
	return p.bucket(int(h.Sum32()%buckets)) + "/" + escape(key)
}

// journalSize is how many changes a follower may be behind.
const journalSize = 1024

// escape makes a key the name of one znode: percent-encoded, because ZooKeeper refuses slashes,
// control characters, some planes of Unicode, and the names "." and "..".
func escape(key string) string {
	if key == "." || key == ".." {
		return strings.ReplaceAll(key, ".", "%2E")
	}
	return url.PathEscape(key)
}

func unescape(name string) (string, error) { return url.PathUnescape(name) }

// maxRequest is what a request may take as a whole: the smallest jute.maxbuffer in use, 0xfffff,
// less what a server adds when it passes the request on.
const maxRequest = 0xfffff - 4<<10

// requestSize is how many bytes a multi of these operations takes, as jute encodes it.
func requestSize(ops []any) int {
	const requestHeader, opHeader, length, number = 8, 9, 4, 4
	size := requestHeader + opHeader // the multi's last header ends it
	for _, op := range ops {
		size += opHeader + length
		switch op := op.(type) {
		case *gozk.CreateRequest:
			size += len(op.Path) + length + len(op.Data) + length + number
			for _, acl := range op.Acl {
				size += number + length + len(acl.Scheme) + length + len(acl.ID)
			}
		case *gozk.SetDataRequest:
			size += len(op.Path) + length + len(op.Data) + number
		case *gozk.DeleteRequest:
			size += len(op.Path) + number
		case *gozk.CheckVersionRequest:
			size += len(op.Path) + number
		}
	}
	return size
}
