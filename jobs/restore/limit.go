package restore

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Limit is how many broken lines a run bears: a count, or a share of all lines
// where Percent is set.
type Limit struct {
	Count   int64
	Percent *float64
}

// UnmarshalJSON reads 100, "100" or "1 %".
func (l *Limit) UnmarshalJSON(doc []byte) error {
	text := string(bytes.TrimSpace(doc))
	if strings.HasPrefix(text, `"`) {
		if err := json.Unmarshal(doc, &text); err != nil {
			return err
		}
	}
	if share, ok := strings.CutSuffix(strings.TrimSpace(text), "%"); ok {
		percent, err := strconv.ParseFloat(strings.TrimSpace(share), 64)
		if err == nil && percent >= 0 && percent <= 100 {
			*l = Limit{Percent: &percent}
			return nil
		}
	} else if count, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64); err == nil && count >= 0 {
		*l = Limit{Count: count}
		return nil
	}
	return fmt.Errorf(`%s is neither a count like 100 nor a share like "1 %%"`, doc)
}

func (l Limit) String() string {
	if l.Percent != nil {
		return strconv.FormatFloat(*l.Percent, 'g', -1, 64) + " %"
	}
	return strconv.FormatInt(l.Count, 10)
}

// exceeded judges a whole run.
func (l Limit) exceeded(bad, lines int64) bool {
	if l.Percent != nil {
		return float64(bad)*100 > *l.Percent*float64(lines)
	}
	return bad > l.Count
}

// hopeless judges a part of a run: whatever the rest holds, the whole run
// exceeds the limit.
func (l Limit) hopeless(bad int64) bool { return l.Percent == nil && bad > l.Count }
