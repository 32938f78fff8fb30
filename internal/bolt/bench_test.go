package bolt

import (
	"fmt"
	"path/filepath"
	"testing"

	"tidemill/internal/storetest"
	"tidemill/scheduler"
)

func BenchmarkCommit(b *testing.B) {
	for _, changes := range []int{1, 100, 2000} {
		b.Run(fmt.Sprintf("changes=%d", changes), func(b *testing.B) {
			storetest.BenchCommit(b, benchLeader(b), changes)
		})
	}
}

func BenchmarkLoad(b *testing.B) { storetest.BenchLoad(b, benchLeader(b), 50_000) }

func benchLeader(b *testing.B) scheduler.Leadership {
	b.Helper()
	f, err := Open(Options{Path: filepath.Join(b.TempDir(), "tidemill.db")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	l, err := f.Campaign(b.Context(), nil)
	if err != nil {
		b.Fatal(err)
	}
	return l
}
