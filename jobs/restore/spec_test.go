package restore

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tidemill/internal/cassandra"
	"tidemill/internal/s3"
)

func TestParse(t *testing.T) {
	s, err := Parse(json.RawMessage(`{"from":"s3://b/2015/*/*.gz","quarantine":"s3://b/bad","max_errors":"1 %"}`))
	one := 1.0
	want := Spec{From: "s3://b/2015/*/*.gz", Quarantine: "s3://b/bad", MaxErrors: &Limit{Percent: &one}, S3: "default", Cassandra: "default",
		Keyspace: "tidemill", Batch: 2000, MaxLine: 1 << 20, MaxPlain: 16 << 30, Buckets: cassandra.DefaultBuckets}
	if diff := cmp.Diff(want, s); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for doc, field := range map[string]string{
		`{"quarantine":"/b"}`:                                 "from",
		`{"from":"a/*","quarantine":"/b"}`:                    "from",
		`{"from":"/a/*"}`:                                     "quarantine",
		`{"from":"/a/*","quarantine":"b"}`:                    "quarantine",
		`{"from":"/a/*","quarantine":"/b*"}`:                  "quarantine",
		`{"from":"/a/*/*","quarantine":"/a/b"}`:               "quarantine",
		`{"from":"/a/*","quarantine":"/b","max_errors":"x"}`:  "max_errors",
		`{"from":"/a/*","quarantine":"/b","max_errors":-1}`:   "max_errors",
		`{"from":"/a/*","quarantine":"/b","keyspace":"A"}`:    "keyspace",
		`{"from":"/a/*","quarantine":"/b","rollups":["a b"]}`: "rollups",
		`{"from":"/a/*","quarantine":"/b","types":[""]}`:      "types",
		`{"from":"/a/*","quarantine":"/b","batch":-1}`:        "batch",
		`{"from":"/a/*","quarantine":"/b","max_line":-1}`:     "max_line",
		`{"from":"/a/*","quarantine":"/b","max_plain":-1}`:    "max_plain",
		`{"from":"/a/*","quarantine":"/b","buckets":-1}`:      "buckets",
		`{"from":"/a/*","quarantine":"/b","window":"1d"}`:     "window",
	} {
		if _, err := Parse(json.RawMessage(doc)); err == nil || !strings.Contains(err.Error(), field+": ") {
			t.Errorf("%s: %v", doc, err)
		}
	}
}

func TestTraits(t *testing.T) {
	for doc, want := range map[string][2][]string{
		`{"from":"/a/*","quarantine":"/b","s3":"x"}`:                           {{"default"}, nil},
		`{"from":"s3://a/*","quarantine":"/b","s3":"x"}`:                       {{"default", "x"}, nil},
		`{"from":"/a/*","quarantine":"s3://b","keyspace":"k"}`:                 {{"default"}, nil},
		`{"from":"/a/*","quarantine":"/b","keyspace":"k","over_deletes":true}`: {{"default"}, {"k/event"}},
	} {
		traits, err := Kind{}.Check(json.RawMessage(doc))
		if diff := cmp.Diff(want, [2][]string{traits.Connections, traits.Targets}); diff != "" || err != nil || !traits.Planned || !traits.Idempotent {
			t.Errorf("%s: %v, %+v\n%s", doc, err, traits, diff)
		}
	}
}

func TestLimit(t *testing.T) {
	tests := []struct {
		limit          string
		bad, lines     int64
		over, hopeless bool
	}{
		{`0`, 0, 10, false, false},
		{`0`, 1, 10, true, true},
		{`"3"`, 3, 10, false, false},
		{`3`, 4, 10, true, true},
		{`"0%"`, 0, 10, false, false},
		{`"0 %"`, 1, 10, true, false},
		{`"10 %"`, 1, 10, false, false},
		{`"9.9%"`, 1, 10, true, false},
		{`"100 %"`, 10, 10, false, false},
		{`"1 %"`, 0, 0, false, false},
	}
	for _, tt := range tests {
		var l Limit
		if err := json.Unmarshal([]byte(tt.limit), &l); err != nil {
			t.Errorf("%s: %v", tt.limit, err)
		}
		if got := l.exceeded(tt.bad, tt.lines); got != tt.over {
			t.Errorf("%d of %d exceeds %s: %t", tt.bad, tt.lines, tt.limit, got)
		}
		if got := l.hopeless(tt.bad); got != tt.hopeless {
			t.Errorf("%d with %s is hopeless: %t", tt.bad, tt.limit, got)
		}
	}
	for _, doc := range []string{`"x"`, `-1`, `1.5`, `"101 %"`, `"-1 %"`, `"%"`, `true`, `null`, `"NaN %"`, `[]`} {
		var l Limit
		if err := l.UnmarshalJSON([]byte(doc)); err == nil {
			t.Errorf("%s was read as %s", doc, l)
		}
	}
}

func TestOverlaps(t *testing.T) {
	tests := []struct {
		pattern, folder string
		want            bool
	}{
		{"s3://b/2015/*/*.gz", "s3://b/bad", false},
		{"s3://b/2015/*/*.gz", "s3://c/2015/01", false},
		{"s3://b/2015/*/*.gz", "s3://b/2015", true},
		{"s3://b/2015/*/*.gz", "s3://b/2015/", true},
		{"s3://b/2015/*/*.gz", "s3://b/2015/01", true},
		{"s3://b/2015/*/*.gz", "s3://b/2015/01/a.gz", false}, // all in it is deeper
		{"s3://b/*/*/*.gz", "s3://b/bad", true},
		{"s3://b/*", "s3://b", true},
		{"s3://b/", "s3://b/bad", true},
		{"s3://b", "s3://b/bad/worse", true},
		{"s3://b/a/", "s3://b/a/bad/worse", true},
		{"s3://b/a/", "s3://b/bad", false},
		{"s3://b/a[1]/*.gz", "s3://b/a[1]", true},
		{"/a/*.gz", "/a/bad", false},
		{"/a/*.gz", "/a", true},
		{"/a/*.gz", "/", true},
	}
	for _, tt := range tests {
		pattern, err := s3.ParseLocation(tt.pattern)
		if err != nil {
			t.Fatal(err)
		}
		folder, err := s3.ParseLocation(tt.folder)
		if err != nil {
			t.Fatal(err)
		}
		if got := overlaps(pattern, folder); got != tt.want {
			t.Errorf("%s and %s overlap: %t", tt.pattern, tt.folder, got)
		}
	}
}

// What the pattern selects in a folder, the folder is refused for.
func TestOverlapsMissesNothing(t *testing.T) {
	element := rapid.SampledFrom([]string{"a", "b", "*", "a*", "?", "*.gz"})
	plain := rapid.SampledFrom([]string{"a", "b", "ab", "c.gz"})
	rapid.Check(t, func(t *rapid.T) {
		pattern := s3.Location{Bucket: "b", Path: strings.Join(rapid.SliceOfN(element, 0, 4).Draw(t, "pattern"), "/")}
		if rapid.Bool().Draw(t, "all below") && pattern.Path != "" {
			pattern.Path += "/"
		}
		folder := s3.Location{Bucket: "b", Path: strings.Join(rapid.SliceOfN(plain, 0, 3).Draw(t, "folder"), "/")}
		key := path.Join(folder.Path, strings.Join(rapid.SliceOfN(plain, 1, 4).Draw(t, "below"), "/"))
		if pattern.Matches(s3.Location{Bucket: "b", Path: key}) && !overlaps(pattern, folder) {
			t.Fatalf("%s selects %s, and yet %s is said to lie outside", pattern, key, folder)
		}
	})
}

func TestQuarantineKey(t *testing.T) {
	q := quarantine{folder: s3.Location{Path: "bad"}, run: "r.1.k.0"}
	for name, want := range map[string]string{
		"2015/01/a.gz": "bad/r.1.k.0/2015/01/a.gz/",
		"../../a.gz":   "bad/r.1.k.0/a.gz/",
	} {
		f := file{key: name, etag: "e"}
		got := q.key(f, 7)
		if !strings.HasPrefix(got, want) || !strings.HasSuffix(got, fmt.Sprintf("/%020d.ndjson", 7)) {
			t.Errorf("%s goes to %s", name, got)
		}
		f.etag = "other"
		if q.key(f, 7) == got {
			t.Errorf("%s: two ETags share %s", name, got)
		}
	}
}

func TestGroup(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.Int64Range(0, 100), 1, 50).Draw(t, "sizes")
		most := rapid.IntRange(1, 12).Draw(t, "most")
		var objects []s3.Object
		var total, largest int64
		for i, size := range sizes {
			objects = append(objects, s3.Object{Key: fmt.Sprint(i), Size: size})
			total += size
			largest = max(largest, size)
		}
		groups := group(objects, 64, most)
		if len(groups) > most || len(groups) > len(objects) {
			t.Fatalf("%d groups of %d objects, %d allowed", len(groups), len(objects), most)
		}
		seen := map[string]bool{}
		for i, g := range groups {
			var sum int64
			for _, o := range g.objects {
				if seen[o.Key] {
					t.Fatalf("%s is in two groups", o.Key)
				}
				seen[o.Key] = true
				sum += o.Size
			}
			if sum != g.size || i > 0 && g.size > groups[i-1].size {
				t.Fatalf("group %d holds %d, says %d", i, sum, g.size)
			}
			if g.size > total/int64(len(groups))+largest {
				t.Fatalf("group %d holds %d of %d", i, g.size, total)
			}
		}
		if len(seen) != len(objects) {
			t.Fatalf("%d of %d objects", len(seen), len(objects))
		}
	})
	if groups := group(make([]s3.Object, 5000), 64, maxGroups); len(groups) != 1 {
		t.Errorf("empty objects make %d groups", len(groups))
	}
}

func TestFurtherRowsWin(t *testing.T) {
	rows := []file{{state: planned}, {state: reading, lines: 1}, {state: reading, lines: 2}, {state: done, lines: 2}, {state: replaced, lines: 1}}
	for i := 1; i < len(rows); i++ {
		if rows[i-1].stamp() >= rows[i].stamp() {
			t.Errorf("%+v is not written before %+v", rows[i-1], rows[i])
		}
	}
	if (file{state: planned}).stamp() >= (file{state: done}).stamp() {
		t.Error("an empty object is never done")
	}
}
