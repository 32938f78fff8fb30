package zk

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	gozk "github.com/go-zookeeper/zk"
)

// member is a scheduler that stands for election; the one with the lowest sequence leads.
type member struct {
	name string // of its znode
	URL  string `json:"url"`
}

func (m member) encode() ([]byte, error) { return json.Marshal(m) }

// Leader is the leading scheduler's base URL, as far as this client has heard.
func (c *Client) Leader() (string, bool) {
	if all := c.members.Load(); all != nil && len(*all) > 0 {
		return (*all)[0].URL, true
	}
	return "", false
}

// Schedulers are the base URLs of the schedulers that stand for election, the leader first.
func (c *Client) Schedulers() []string {
	var urls []string
	if all := c.members.Load(); all != nil {
		for _, m := range *all {
			urls = append(urls, m.URL)
		}
	}
	return urls
}

// readMembers reads those that are new: what a member says of itself never changes.
func (c *Client) readMembers(names []string) error {
	var known []member
	if last := c.members.Load(); last != nil {
		known = *last
	}
	var all []member
	for _, name := range inOrder(names) {
		m, err := c.readMember(name, known)
		if errors.Is(err, gozk.ErrNoNode) { // gone since; the watch will tell
			continue
		}
		if err != nil {
			return err
		}
		all = append(all, m)
	}
	c.members.Store(&all)
	return nil
}

func (c *Client) readMember(name string, known []member) (member, error) {
	if i := slices.IndexFunc(known, func(m member) bool { return m.name == name }); i >= 0 {
		return known[i], nil
	}
	data, _, err := c.conn.Get(c.candidate(name))
	if err != nil {
		return member{}, err
	}
	m := member{name: name}
	return m, json.Unmarshal(data, &m)
}

// inOrder are the names that end in a sequence number, in its order.
func inOrder(names []string) []string {
	ordered := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		_, ok := sequenceOf(name)
		return !ok
	})
	slices.SortFunc(ordered, func(a, b string) int {
		x, _ := sequenceOf(a)
		y, _ := sequenceOf(b)
		return cmp.Compare(x, y)
	})
	return ordered
}

// sequenceDigits is how many digits ZooKeeper appends to the name of a sequential znode.
const sequenceDigits = 10

func sequenceOf(name string) (uint64, bool) {
	if len(name) < sequenceDigits {
		return 0, false
	}
	digits := name[len(name)-sequenceDigits:]
	if strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil
}
