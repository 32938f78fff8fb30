package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const good = `{"id":"9f2c1e4a-0b1d-4c3e-8f70-112233445566","ad_id":"00000000-0000-4000-8000-000000000001","campaign":"00000000-0000-4000-8000-0000000000aa","ts":1441065600000,"type":"view"}`

func TestDecode(t *testing.T) {
	long := strings.Repeat("x", MaxType+1)
	var many strings.Builder
	for i := range MaxFields {
		fmt.Fprintf(&many, `"x%d":1,`, i)
	}
	cases := []struct {
		name, doc string
		want      *Fault
	}{
		{"plain", good, nil},
		{"white space around", " \n" + good + "\r\n\t", nil},
		{"unknown fields are ignored", strings.Replace(good, "{", `{"x":{"a":[1,-2.5e+3,null,true,false,"\n"]},`, 1), nil},
		{"escaped name is the same name", strings.Replace(good, `"id"`, `"\u0069d"`, 1), nil},
		{"empty", "", &Fault{Code: Syntax}},
		{"text", "hello", &Fault{Code: Syntax}},
		{"cut", good[:60], &Fault{Code: Syntax}},
		{"list", "[]", &Fault{Code: NotObject}},
		{"number", "12", &Fault{Code: NotObject}},
		{"trailing", good + "x", &Fault{Code: Trailing}},
		{"two", good + good, &Fault{Code: Trailing}},
		{"comma at the end", strings.Replace(good, "}", ",}", 1), &Fault{Code: Syntax}},
		{"raw newline in a string", strings.Replace(good, "view", "vi\new", 1), &Fault{Code: Syntax}},
		{"leading zero", strings.Replace(good, "14410", "014410", 1), &Fault{Code: Syntax}},
		{"bad utf-8", strings.Replace(good, "view", "vi\xffew", 1), &Fault{Code: UTF8}},
		{"empty object", "{}", &Fault{"id", Missing}},
		{"name in another case", strings.Replace(good, `"id"`, `"ID"`, 1), &Fault{"id", Missing}},
		{"no ts", strings.Replace(good, `"ts":1441065600000,`, "", 1), &Fault{"ts", Missing}},
		{"id twice", strings.Replace(good, "{", `{"id":"9f2c1e4a-0b1d-4c3e-8f70-112233445566",`, 1), &Fault{"id", Duplicate}},
		{"unknown twice", strings.Replace(good, "{", `{"x":1,"x":1,`, 1), &Fault{"x", Duplicate}},
		{"id null", strings.Replace(good, `"9f2c1e4a-0b1d-4c3e-8f70-112233445566"`, "null", 1), &Fault{"id", WrongType}},
		{"id short", strings.Replace(good, "9f2c1e4a-", "", 1), &Fault{"id", BadUUID}},
		{"id not hex", strings.Replace(good, "9f2c", "9g2c", 1), &Fault{"id", BadUUID}},
		{"ts text", strings.Replace(good, "1441065600000", `"1441065600000"`, 1), &Fault{"ts", WrongType}},
		{"ts fraction", strings.Replace(good, "1441065600000", "1.5", 1), &Fault{"ts", WrongType}},
		{"ts zero", strings.Replace(good, "1441065600000", "0", 1), &Fault{"ts", BadTS}},
		{"ts in µs", strings.Replace(good, "1441065600000", "1441065600000000", 1), &Fault{"ts", BadTS}},
		{"ts beyond int64", strings.Replace(good, "1441065600000", "99999999999999999999", 1), &Fault{"ts", BadTS}},
		{"type empty", strings.Replace(good, "view", "", 1), &Fault{"type", BadType}},
		{"type long", strings.Replace(good, "view", long, 1), &Fault{"type", BadType}},
		{"the first field at fault is named", `{"ts":"x","id":1}`, &Fault{"ts", WrongType}},
		{"no JSON wins over a bad field", `{"ts":"x",`, &Fault{Code: Syntax}},
		{"too many fields", "{" + many.String() + `"id":1}`, &Fault{Code: TooMany}},
		{"too deep", `{"x":` + strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1) + "}", &Fault{Code: TooDeep}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e, fault := Decode([]byte(c.doc))
			if diff := cmp.Diff(c.want, fault); diff != "" {
				t.Fatalf("fault (-want +got):\n%s", diff)
			}
			if fault == nil && (e.ID.String() != "9f2c1e4a-0b1d-4c3e-8f70-112233445566" || e.TS != 1441065600000 || e.Type != View) {
				t.Errorf("decoded %+v", e)
			}
			if fault != nil && fault.Error() == "" {
				t.Error("a fault without a text")
			}
		})
	}
}

func TestAppendJSONIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var e Event
		for _, u := range []*UUID{&e.ID, &e.AdID, &e.Campaign} {
			copy(u[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid"))
		}
		e.TS = rapid.Int64Range(1, MaxTS).Draw(t, "ts")
		e.Type = rapid.StringN(1, 10, MaxType).Draw(t, "type")
		line := e.AppendJSON(nil)
		got, fault := Decode(line)
		if fault != nil || got != e {
			t.Fatalf("%s: %v; got %+v, want %+v", line, fault, got, e)
		}
		var std Event
		if err := json.Unmarshal(line, &std); err != nil || std != e {
			t.Fatalf("encoding/json reads %s as %+v (%v)", line, std, err)
		}
	})
}

func TestRules(t *testing.T) {
	now := time.UnixMilli(1441065600000)
	e := Event{TS: now.UnixMilli(), Type: View}
	door := Rules{Oldest: 90 * 24 * time.Hour, Newest: 10 * time.Minute}
	at := func(d time.Duration) Event { e := e; e.TS += d.Milliseconds(); return e }
	cases := []struct {
		name  string
		rules Rules
		event Event
		want  *Fault
	}{
		{"now", door, e, nil},
		{"at the oldest", door, at(-90 * 24 * time.Hour), nil},
		{"too old", door, at(-90*24*time.Hour - time.Millisecond), &Fault{"ts", Window}},
		{"at the newest", door, at(10 * time.Minute), nil},
		{"too new", door, at(10*time.Minute + time.Millisecond), &Fault{"ts", Window}},
		{"no window", Rules{}, at(-20 * 365 * 24 * time.Hour), nil},
		{"unknown type", door, Event{TS: e.TS, Type: "buy"}, &Fault{"type", BadType}},
		{"own types", Rules{Types: []string{"buy"}}, Event{TS: e.TS, Type: "buy"}, nil},
		{"own types only", Rules{Types: []string{"buy"}}, e, &Fault{"type", BadType}},
	}
	for _, c := range cases {
		if diff := cmp.Diff(c.want, c.rules.Check(c.event, now)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// Rows lie by these numbers: a change of the hash loses them.
func TestFaultsNameEveryField(t *testing.T) {
	now := time.UnixMilli(1441065600000)
	rules := Rules{Oldest: time.Hour}
	id := `"id":"9f2c1e4a-0b1d-4c3e-8f70-112233445566"`
	rest := `"ad_id":"00000000-0000-4000-8000-000000000001","campaign":"00000000-0000-4000-8000-0000000000aa"`
	cases := []struct {
		doc  string
		want []Fault
	}{
		{good, nil},
		{`{` + id + `,` + rest + `,"ts":5,"type":"buy"}`, []Fault{{"type", BadType}, {"ts", Window}}},
		{`{` + id + `,"type":"","type":"view","campaign":7,"ts":"x"}`,
			[]Fault{{"type", BadType}, {"campaign", WrongType}, {"ts", WrongType}, {"ad_id", Missing}}},
		{`{` + id + `,` + id + `,` + rest + `,"x":1,"x":2,"x":3,"ts":1441065600000}`, []Fault{{"id", Duplicate}, {"x", Duplicate}, {"type", Missing}}},
		{`{"ts":"x"} {`, []Fault{{Code: Trailing}}},
		{`{"ts":"x"`, []Fault{{Code: Syntax}}},
		{"\xff", []Fault{{Code: UTF8}}},
	}
	for _, c := range cases {
		e, faults := Faults([]byte(c.doc), rules, now)
		if diff := cmp.Diff(c.want, faults); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.doc, diff)
		}
		if strings.HasPrefix(c.doc, "{"+id) && e.ID.String() != "9f2c1e4a-0b1d-4c3e-8f70-112233445566" {
			t.Errorf("%s: the id that it has is not told: %v", c.doc, e.ID)
		}
		_, first := Decode([]byte(c.doc))
		if first != nil && (len(faults) == 0 || *first != faults[0]) {
			t.Errorf("%s: Decode says %v, Faults %v", c.doc, first, faults)
		}
	}
}

func TestBucketNeverChanges(t *testing.T) {
	id, err := ParseUUID("9f2c1e4a-0b1d-4c3e-8f70-112233445566")
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int]int{1: 0, 16: 7, 1000: 55} {
		if got := Bucket(id, n); got != want {
			t.Errorf("bucket of %d is %d, want %d", n, got, want)
		}
	}
}

func TestBucketsAreEven(t *testing.T) {
	const n, each = 16, 1000
	var counts [n]int
	for i := range n * each {
		var id UUID
		id[15], id[14] = byte(i), byte(i>>8)
		counts[Bucket(id, n)]++
	}
	for b, c := range counts {
		if c < each*8/10 || c > each*12/10 {
			t.Errorf("bucket %d holds %d of %d", b, c, n*each)
		}
	}
}

func TestDay(t *testing.T) {
	for ms, want := range map[int64]string{
		0: "1970-01-01", dayMillis - 1: "1970-01-01", dayMillis: "1970-01-02", -1: "1969-12-31",
		1441065600000 - 1: "2015-08-31", 1441065600000: "2015-09-01",
	} {
		d := DayOf(ms)
		if d.String() != want {
			t.Errorf("day of %d is %s, want %s", ms, d, want)
		}
		var back Day
		if err := back.UnmarshalText([]byte(want)); err != nil || back != d {
			t.Errorf("%s reads as %d (%v), want %d", want, back, err, d)
		}
	}
	if y, m, d := DayOf(1441065600000).Date(); y != 2015 || m != 9 || d != 1 {
		t.Errorf("date is %d-%d-%d", y, m, d)
	}
}

func TestList(t *testing.T) {
	cases := []struct {
		doc  string
		want []string
		code Code
	}{
		{doc: ` [] `},
		{doc: `[1, {"a":[2]} ,"]"]`, want: []string{"1", `{"a":[2]}`, `"]"`}},
		{doc: "[\"\xff\"]", want: []string{"\"\xff\""}},
		{doc: `[1,]`, want: []string{"1"}, code: Syntax},
		{doc: `[,1]`, code: Syntax},
		{doc: `[1 2]`, want: []string{"1"}, code: Syntax},
		{doc: `[1`, want: []string{"1"}, code: Syntax},
		{doc: `{}`, code: Syntax},
		{doc: `[1]]`, want: []string{"1"}, code: Trailing},
		{doc: `[1,2,3,4]`, want: []string{"1", "2", "3"}, code: TooMany},
	}
	for _, c := range cases {
		got, fault := List([]byte(c.doc), 3)
		var texts []string
		for _, g := range got {
			texts = append(texts, string(g))
		}
		var code Code
		if fault != nil {
			code = fault.Code
		}
		if !cmp.Equal(c.want, texts) || code != c.code {
			t.Errorf("%s: %q, %q; want %q, %q", c.doc, texts, code, c.want, c.code)
		}
	}
}

// oracle reads the same language with encoding/json.
func oracle(doc []byte) (Event, bool) {
	var e Event
	if !json.Valid(doc) || hasDuplicate(doc) {
		return e, false
	}
	var m map[string]json.RawMessage
	if json.Unmarshal(doc, &m) != nil {
		return e, false
	}
	for name, into := range map[string]any{"id": &e.ID, "ad_id": &e.AdID, "campaign": &e.Campaign, "ts": &e.TS, "type": &e.Type} {
		raw, ok := m[name]
		if !ok || bytes.Equal(raw, []byte("null")) || json.Unmarshal(raw, into) != nil {
			return e, false
		}
	}
	return e, e.TS >= 1 && e.TS <= MaxTS && e.Type != "" && len(e.Type) <= MaxType
}

func hasDuplicate(doc []byte) bool {
	d := json.NewDecoder(bytes.NewReader(doc))
	seen, depth, name := map[string]bool{}, 0, true
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return false
		}
		switch v := tok.(type) {
		case json.Delim:
			if v == '{' || v == '[' {
				depth++
				name = depth == 1
				continue
			}
			depth--
		case string:
			if depth == 1 && name {
				if seen[v] {
					return true
				}
				seen[v] = true
				name = false
				continue
			}
		}
		if depth == 1 {
			name = true
		}
	}
}

// FuzzDecode compares with encoding/json: what is accepted must mean the
// same, and what encoding/json reads as an event must be accepted, but for
// the bounds and for invalid UTF-8, which encoding/json mends silently.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(strings.Replace(good, "{", `{"x":{"y":[1e5,"\ud83d\ude00",null]},`, 1)))
	f.Add([]byte(`{"id":"x"}`))
	f.Add([]byte(`[1,2`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		got, fault := Decode(doc)
		if fault != nil && (fault.Code == UTF8 || fault.Code == TooMany || fault.Code == TooDeep) {
			return
		}
		want, ok := oracle(doc)
		if ok != (fault == nil) || ok && got != want {
			t.Errorf("%q: got %+v, %v; encoding/json: %+v, %v", doc, got, fault, want, ok)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	doc := []byte(good)
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		if _, fault := Decode(doc); fault != nil {
			b.Fatal(fault)
		}
	}
}
