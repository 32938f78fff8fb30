package chronos

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWords(t *testing.T) {
	for line, want := range map[string][]string{
		"":                        nil,
		"  ":                      nil,
		"-v  --day\tmonday":       {"-v", "--day", "monday"},
		`'a b' "c d"e ''`:         {"a b", "c de", ""},
		`a\ b "\"\\\n" '\n'`:      {"a b", `"\\n`, `\n`},
		`$(rm -rf x); "$HOME" \$`: {"$(rm", "-rf", "x);", "$HOME", "$"},
		`end\`:                    {`end\`},
	} {
		got, err := words(line)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v\n%s", line, err, diff)
		}
	}
	for _, line := range []string{`'a`, `"a\"`} {
		if got, err := words(line); err == nil {
			t.Errorf("%q is accepted as %q", line, got)
		}
	}
}

func TestLasting(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", -time.Second: "0s", 1500 * time.Millisecond: "1s", 5 * time.Minute: "5m0s", 26*time.Hour + 3*time.Second: "1d2h3s",
	} {
		if got := lasting(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	ten := durations{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for _, c := range []struct {
		d       durations
		q, want float64
	}{{nil, 0.5, 0}, {durations{7}, 0.99, 7}, {ten, 0.5, 5.5}, {ten, 0.75, 8.25}, {ten, 0.99, 10}, {ten, 0, 1}} {
		if got := c.d.quantile(c.q); got != c.want {
			t.Errorf("the %g quantile of %v is %g, want %g", c.q, c.d, got, c.want)
		}
	}
	if got := ten.mean(); got != 5.5 {
		t.Errorf("mean %g", got)
	}
}
