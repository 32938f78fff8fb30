package jobs

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestTimesThatAreNotAreLeftOut: nobody should read of the year 1.
func TestTimesThatAreNotAreLeftOut(t *testing.T) {
	for _, v := range []any{Task{}, WaitingSplit{}, Status{}} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range []string{`"start_by"`, `"since"`, `"last_offer"`} {
			if strings.Contains(string(text), field) {
				t.Errorf("%T: %s", v, text)
			}
		}
	}
}
