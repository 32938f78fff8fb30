package mesoslocal

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// event is what the comparison sees of an event: ids, times and the like normalised.
type event struct {
	T    float64
	Type string
	Key  string // what it is waited for by
	Text string // all that is compared
	Task string
	UUID string
	Tree map[string]any
	Seen bool
}

// parseEvent reads a scheduler's or an executor's event.
func parseEvent(frame []byte) (event, error) {
	var tree map[string]any
	if err := json.Unmarshal(frame, &tree); err != nil {
		return event{}, fmt.Errorf("an event is no JSON: %w: %.80s", err, frame)
	}
	e := event{Tree: tree}
	e.Type, _ = tree["type"].(string)
	e.Key = e.Type
	body, _ := tree[strings.ToLower(e.Type)].(map[string]any)
	switch e.Type {
	case "UPDATE":
		status, _ := body["status"].(map[string]any)
		e.Task, e.UUID = at(status, "task_id", "value"), at(status, "uuid")
		e.Key += " " + e.Task
		e.Text = statusText(status)
	case "UPDATE_OPERATION_STATUS":
		status, _ := body["status"].(map[string]any)
		e.Key += " " + at(status, "operation_id", "value")
		if status["uuid"] != nil {
			status["uuid"] = "present"
		}
		e.Text = normalise(jsonText(body))
	case "ACKNOWLEDGED":
		e.Task = at(body, "task_id", "value")
		e.Key += " " + e.Task
		e.Text = e.Key
	case "LAUNCH":
		task, _ := body["task"].(map[string]any)
		e.Task = at(task, "task_id", "value")
		e.Key += " " + e.Task
		e.Text = normalise(jsonText(task))
	case "SUBSCRIBED":
		delete(body, "heartbeat_interval_seconds") // scaled
		if info, ok := body["master_info"].(map[string]any); ok {
			delete(info, "capabilities")
		}
		e.Text = normalise(jsonText(body))
	case "OFFERS", "HEARTBEAT", "RESCIND":
		e.Text = e.Type
	default:
		e.Text = normalise(jsonText(body))
	}
	return e, nil
}

func jsonText(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// at reads a nested string.
func at(tree map[string]any, path ...string) string {
	for _, key := range path[:len(path)-1] {
		tree, _ = tree[key].(map[string]any)
	}
	text, _ := tree[path[len(path)-1]].(string)
	return text
}

// statusText is a status without what differs from run to run; of what is only there
// or not, it says so.
func statusText(status map[string]any) string {
	copied := map[string]any{}
	for key, value := range status {
		switch key {
		case "timestamp":
		case "uuid", "unreachable_time":
			copied[key] = "present"
		case "container_status":
			copied[key] = slices.Sorted(func(yield func(string) bool) {
				for name := range value.(map[string]any) {
					if !yield(name) {
						return
					}
				}
			})
		case "message":
			text, _ := value.(string)
			copied[key], _, _ = strings.Cut(text, "\n") // a dump of infos may follow
		default:
			copied[key] = value
		}
	}
	return normalise(jsonText(copied))
}

var normalisations = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}-S\d+`), "<agent>"},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}-O\d+`), "<offer>"},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}-\d{4}`), "<framework>"},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "<uuid>"},
	{regexp.MustCompile(`"port":\d+`), `"port":0`},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "<address>"},
	{regexp.MustCompile(`/[^ ']*/slaves/`), "<work>/slaves/"},
	{regexp.MustCompile(`"value":"exec [^"]*"`), `"value":"<executor>"`},
	{regexp.MustCompile(`sleep [\d.]+`), "sleep N"},
	{regexp.MustCompile(`"nanoseconds":[-\d.e+]+`), `"nanoseconds":0`},
}

func normalise(text string) string {
	for _, n := range normalisations {
		text = n.pattern.ReplaceAllString(text, n.with)
	}
	return text
}

// translation maps recorded ids to live ones.
type translation struct {
	exact map[string]string   // stream, framework, agent, container and master ids, UUIDs of updates
	hosts map[string]string   // recorded agent id to host name, from offers
	known map[string][]string // recorded agent ids by host name, in order of their appearance
	agent map[string][]string // live ones

	recordedOffers map[string]offerShape
	rescinded      map[string]bool // recorded offers
	liveOffers     []liveOffer
	recordedUUIDs  map[string][]string // by task: distinct, in order
	liveUUIDs      map[string][]string
	containers     map[string]string // of tasks, recorded
	liveContainers map[string]string
	subscribed     map[string]map[string]any // first SUBSCRIBED by connection, one side's
}

// offerShape is how offers are told apart.
type offerShape struct {
	conn, host string // and not the role: which of a framework's roles gets an agent is chance
	cpus, mem  float64
}

func (s offerShape) covers(other offerShape) bool {
	return s.conn == other.conn && s.host == other.host && s.cpus >= other.cpus && s.mem >= other.mem
}

type liveOffer struct {
	id    string
	shape offerShape
	used  bool // it is the counterpart of a recorded one, or was declined
	gone  bool // it was rescinded
}

func newTranslation() *translation {
	return &translation{
		exact: map[string]string{}, hosts: map[string]string{}, known: map[string][]string{}, agent: map[string][]string{},
		recordedOffers: map[string]offerShape{}, rescinded: map[string]bool{}, recordedUUIDs: map[string][]string{}, liveUUIDs: map[string][]string{},
		subscribed: map[string]map[string]any{}, containers: map[string]string{}, liveContainers: map[string]string{},
	}
}

func (x *translation) learnRecorded(conn string, e event) {
	switch e.Type {
	case "SUBSCRIBED":
		x.pair(conn, e, true)
	case "OFFERS":
		eachOffer(conn, e, func(id, agent string, shape offerShape) {
			x.recordedOffers[id], x.hosts[agent] = shape, shape.host
			x.known[shape.host] = addOnce(x.known[shape.host], agent)
		})
	case "RESCIND":
		x.rescinded[rescindedOffer(e)] = true
	case "UPDATE":
		x.containers[containerOf(e)] = e.Task
		if e.UUID != "" && !slices.Contains(x.recordedUUIDs[e.Task], e.UUID) {
			x.recordedUUIDs[e.Task] = append(x.recordedUUIDs[e.Task], e.UUID)
		}
	}
}

func (x *translation) learnLive(conn string, e event) {
	switch e.Type {
	case "SUBSCRIBED":
		x.pair(conn, e, false)
	case "OFFERS":
		eachOffer(conn, e, func(id, agent string, shape offerShape) {
			x.liveOffers = append(x.liveOffers, liveOffer{id: id, shape: shape})
			x.agent[shape.host] = addOnce(x.agent[shape.host], agent)
		})
	case "RESCIND":
		for i := range x.liveOffers {
			if x.liveOffers[i].id == rescindedOffer(e) {
				x.liveOffers[i].gone = true
			}
		}
	case "UPDATE":
		x.liveContainers[e.Task] = containerOf(e)
		if e.UUID != "" && !slices.Contains(x.liveUUIDs[e.Task], e.UUID) {
			x.liveUUIDs[e.Task] = append(x.liveUUIDs[e.Task], e.UUID)
		}
	}
}

func rescindedOffer(e event) string {
	body, _ := e.Tree["rescind"].(map[string]any)
	return at(body, "offer_id", "value")
}

func addOnce(list []string, item string) []string {
	if slices.Contains(list, item) {
		return list
	}
	return append(list, item)
}

func containerOf(e event) string {
	body, _ := e.Tree["update"].(map[string]any)
	return at(body, "status", "container_status", "container_id", "value")
}

// pair learns the ids of two SUBSCRIBED events on the same connection.
func (x *translation) pair(conn string, e event, recorded bool) {
	body, _ := e.Tree["subscribed"].(map[string]any)
	other := x.subscribed[conn]
	if other == nil {
		x.subscribed[conn] = body
		return
	}
	delete(x.subscribed, conn)
	if !recorded {
		body, other = other, body
	}
	for _, path := range [][]string{{"framework_id", "value"}, {"master_info", "id"}, {"framework_info", "id", "value"},
		{"agent_info", "id", "value"}, {"container_id", "value"}} {
		if from := at(body, path...); from != "" {
			x.exact[from] = at(other, path...)
		}
	}
}

func eachOffer(conn string, e event, visit func(id, agent string, shape offerShape)) {
	body, _ := e.Tree["offers"].(map[string]any)
	offers, _ := body["offers"].([]any)
	for _, one := range offers {
		offer, _ := one.(map[string]any)
		shape := offerShape{conn: conn, host: at(offer, "hostname")}
		list, _ := offer["resources"].([]any)
		for _, item := range list {
			resource, _ := item.(map[string]any)
			scalar, _ := resource["scalar"].(map[string]any)
			amount, _ := scalar["value"].(float64)
			switch at(resource, "name") {
			case "cpus":
				shape.cpus += amount
			case "mem":
				shape.mem += amount
			}
		}
		visit(at(offer, "id", "value"), at(offer, "agent_id", "value"), shape)
	}
}

// fragments returns the live offers of an agent that a recorded offer may consist of:
// where tasks ended within one cycle of the real allocator, two of the scaled one may
// have offered their resources one by one.
func (x *translation) fragments(id string) (conn string, ids []string) {
	shape, ok := x.recordedOffers[id]
	if !ok {
		return "", nil
	}
	for i := range x.liveOffers {
		if o := &x.liveOffers[i]; !o.used && !o.gone && o.shape.conn == shape.conn && o.shape.host == shape.host {
			o.used = true
			ids = append(ids, o.id)
		}
	}
	return shape.conn, ids
}

// live returns the live counterpart of a recorded id, false while it is not there yet.
// Relaxed, an offer may hold more than the recorded one: fragments that were declined
// have come back as one.
func (x *translation) live(id string, relaxed bool) (string, bool) {
	if to, ok := x.exact[id]; ok {
		return to, true
	}
	if host, ok := x.hosts[id]; ok {
		if i := slices.Index(x.known[host], id); i < len(x.agent[host]) {
			return x.agent[host][i], true
		}
		return "", false
	}
	if task, ok := x.containers[id]; ok && id != "" {
		return x.liveContainers[task], true
	}
	if shape, ok := x.recordedOffers[id]; ok {
		for i := range x.liveOffers {
			if o := &x.liveOffers[i]; !o.used && o.gone == x.rescinded[id] && (o.shape == shape || relaxed && o.shape.covers(shape)) {
				o.used = true
				x.exact[id] = o.id
				return o.id, true
			}
		}
		return "", false
	}
	for task, uuids := range x.recordedUUIDs {
		if i := slices.Index(uuids, id); i >= 0 {
			if i < len(x.liveUUIDs[task]) {
				return x.liveUUIDs[task][i], true
			}
			return "", false
		}
	}
	return id, true // made up by the client
}
