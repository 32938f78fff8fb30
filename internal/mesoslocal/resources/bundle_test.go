package resources

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"cpus:2;mem:1024;ports:[31000-31099]": "ports:[31000-31099]; cpus:2; mem:1024",
		"cpus:0.1":                            "cpus:0.1",
		"ports:[5-7,1-2,3-4]":                 "ports:[1-7]",
		"cpus(*):1":                           "cpus:1",
		"":                                    "",
	} {
		bundle, err := Parse(text)
		if err != nil || bundle.String() != want {
			t.Errorf("Parse(%q) = %q, %v, want %q", text, bundle, err, want)
		}
	}
	for _, text := range []string{"cpus", "cpus:x", "cpus:-1", "ports:[7-5]", "ports:[1-2"} {
		if bundle, err := Parse(text); err == nil {
			t.Errorf("Parse(%q) = %q, want an error", text, bundle)
		}
	}
}

func bundles(t *rapid.T, label string, firstPort uint64) Bundle {
	cpus := rapid.IntRange(0, 4000).Draw(t, label+" cpus")
	begin := firstPort + rapid.Uint64Range(0, 40).Draw(t, label+" begin")
	end := begin + rapid.Uint64Range(0, 9).Draw(t, label+" length")
	bundle, err := Parse(fmt.Sprintf("cpus:%g;mem:%d;ports:[%d-%d]", float64(cpus)/1000,
		rapid.IntRange(0, 100).Draw(t, label+" mem"), begin, end))
	if err != nil {
		t.Fatal(err)
	}
	return bundle
}

// What was added can be taken away, and leaves what was there.
func TestPlusThenMinus(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := bundles(t, "a", 1000), bundles(t, "b", 2000)
		sum := a.Plus(b)
		if !sum.Contains(a) || !sum.Contains(b) {
			t.Fatalf("%s + %s = %s does not contain both", a, b, sum)
		}
		rest := sum.Minus(b)
		if !rest.Contains(a) || !a.Contains(rest) {
			t.Fatalf("%s + %s - the latter = %s", a, b, rest)
		}
		if again := Of(sum.Mesos("*")); again.String() != sum.String() {
			t.Fatalf("%s comes back from protobuf as %s", sum, again)
		}
	})
}
