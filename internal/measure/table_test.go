package main

import (
	"strings"
	"testing"
	"time"
)

func TestTable(t *testing.T) {
	out := `goos: linux
BenchmarkCore/agents=10/jobs=1000-2   	      26	  45034567 ns/op	     61234.5 decisions/s	      1400 p99-µs/step	 1234 B/op	 5 allocs/op
BenchmarkDecode-16   	 1000000	      1043 ns/op	     712.50 MB/s	       0 B/op	       0 allocs/op
--- BENCH: BenchmarkDecode
ok  	tidemill/scheduler	3.1s
`
	all := append(parse("scheduler", []byte(out)), parse("jobs/schedule", []byte("BenchmarkNext-2 100 1043 ns/op 0 B/op 0 allocs/op\n"))...)
	got := render(all, "Machine: one.", time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC))
	for _, want := range []string{
		"on 2026-01-02", "Machine: one.",
		"| scheduler | Core/agents=10/jobs=1000 | 61,234 decisions/s | ≥ 20,000 reached |\n",
		"| scheduler | Core/agents=10/jobs=1000 | 1,400 p99-µs/step | ≤ 1,000 **missed** |\n",
		"| scheduler | Decode | 712 MB/s |  |\n",
		"| jobs/schedule | Next | 1,043 ns/op |  |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if strings.Contains(got, "allocs") || strings.Contains(got, "45,034,567") {
		t.Errorf("it tells too much:\n%s", got)
	}
}
