package golden

import "testing"

func TestEveryRecordingReads(t *testing.T) {
	names, err := Names()
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < 50 {
		t.Errorf("%d recordings, want all of them", len(names))
	}
	for _, name := range names {
		lines, err := Open(name)
		if err != nil {
			t.Errorf("Open(%q): %v", name, err)
		}
		requests := 0
		for _, line := range lines {
			switch line.Dir {
			case Sent, Received, Note:
			default:
				t.Errorf("%s: direction %q", name, line.Dir)
			}
			if line.What == Request {
				requests++
			}
		}
		if requests == 0 {
			t.Errorf("%s: no request recorded", name)
		}
	}
}

func TestOpenUnknown(t *testing.T) {
	if _, err := Open("99_none"); err == nil {
		t.Error("no error for a recording that is not there")
	}
}
