package agent

import (
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

func TestParseAttributes(t *testing.T) {
	list, err := ParseAttributes("rack:b;cassandra:dc1;num:3;range:[1-5]")
	if err != nil {
		t.Fatal(err)
	}
	want := []mesos.Value_Type{mesos.TEXT, mesos.TEXT, mesos.SCALAR, mesos.RANGES}
	if len(list) != len(want) {
		t.Fatalf("%d attributes", len(list))
	}
	for i, attribute := range list {
		if attribute.Type != want[i] {
			t.Errorf("%s is %s, want %s", attribute.Name, attribute.Type, want[i])
		}
	}
	if _, err := ParseAttributes("rack"); err == nil {
		t.Error("no error for an attribute without a value")
	}
}

func TestDurationText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		15 * time.Minute: "15mins", 2 * time.Second: "2secs", 5 * time.Second: "5secs", 1500 * time.Millisecond: "1.5secs",
	} {
		if got := durationText(d); got != want {
			t.Errorf("%s is %s, want %s", d, got, want)
		}
	}
}
