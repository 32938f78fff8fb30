package zk

import (
	"errors"
	"time"

	gozk "github.com/go-zookeeper/zk"
)

// retryPause is between two tries to watch what could not be read.
const retryPause = 250 * time.Millisecond

// watchChildren calls changed with the names under path, at first and after each change, until
// the connection is closed. A path that does not exist has none. changed is called again after a
// pause where it fails.
func (c *connection) watchChildren(path string, changed func(names []string) error) {
	var complained string
	for c.ctx.Err() == nil {
		names, event, err := c.children(path)
		if err == nil {
			err = changed(names)
		}
		if err != nil {
			// Lost connections are told of elsewhere; another cause is told of once.
			if !unanswered(err) && complained != err.Error() {
				complained = err.Error()
				c.log.Warn().Err(err).Str("path", path).Msg("cannot watch a path in ZooKeeper")
			}
			event = nil
		}
		c.pause(event)
	}
}

func (c *connection) children(path string) ([]string, <-chan gozk.Event, error) {
	names, _, event, err := c.conn.ChildrenW(path)
	if !errors.Is(err, gozk.ErrNoNode) {
		return names, event, err
	}
	exists, _, event, err := c.conn.ExistsW(path)
	if err == nil && exists { // made between the two
		return c.children(path)
	}
	return nil, event, err
}

// names are the names under path.
func (c *connection) names(path string) ([]string, error) {
	names, _, err := c.conn.Children(path)
	return names, err
}

// pause waits for the event, or for a while where there is none to wait for.
func (c *connection) pause(event <-chan gozk.Event) {
	var later <-chan time.Time
	if event == nil {
		later = time.After(retryPause)
	}
	select {
	case <-event:
	case <-later:
	case <-c.ctx.Done():
	}
}
