package mesoslocal

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if code, asked := RunHelper(os.Args[1:]); asked {
		os.Exit(code)
	}
	os.Exit(m.Run())
}
