package line

import (
	"bytes"
	"testing"
)

func TestAppend(t *testing.T) {
	for _, tt := range []struct{ record, want string }{
		{`{"id":"a"}`, `{"id":"a"}`},
		{`  [1, 2] `, `  [1, 2] `},
		{"{\n}", `{"base64":"ewp9"}`},
		{"no json", `{"base64":"bm8ganNvbg=="}`},
		{"", `{"base64":""}`},
		{`{"base64":null}`, `{"base64":"eyJiYXNlNjQiOm51bGx9"}`},
		{"\xff", `{"base64":"/w=="}`},
	} {
		if got := string(Append([]byte("x"), []byte(tt.record))); got != "x"+tt.want+"\n" {
			t.Errorf("%q is written as %q", tt.record, got)
		}
	}
	if got := string(Append(nil, nil)); got != "{\"base64\":null}\n" {
		t.Errorf("no value is written as %q", got)
	}
}

func TestRecordTakesForeignLinesAsTheyAre(t *testing.T) {
	for _, text := range []string{`{"base64":"%"}`, `{"base64":1}`, `{"base64":"}`, `{"base64":`, ``, `{"base64":"YQ=="`} {
		if got := Record([]byte(text)); string(got) != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

// Whatever a record holds, its line is one line and gives it back.
func FuzzAppend(f *testing.F) {
	for _, seed := range []string{`{"id":1}`, "a\nb", "\r", `{"base64":"YQ=="}`, ""} {
		f.Add([]byte(seed), false)
	}
	f.Add([]byte(nil), true)
	f.Fuzz(func(t *testing.T, record []byte, none bool) {
		if none {
			record = nil
		} else if record == nil {
			record = []byte{}
		}
		text := Append(nil, record)
		if bytes.IndexByte(text, '\n') != len(text)-1 {
			t.Fatalf("%q is written as %q", record, text)
		}
		got := Record(text[:len(text)-1])
		if !bytes.Equal(got, record) || (got == nil) != (record == nil) {
			t.Fatalf("%q came back as %q", record, got)
		}
	})
}
